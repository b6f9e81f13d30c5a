package reserve

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// A Sizing is what is to be guaranteed, in the words of who asks for it. The
// sum is frames x frame size, for each interface: how many frames can be held
// at the worst moment, times what one really takes up.
type Sizing struct {
	// MTU of the links, or of the largest. Zero or less means 1500.
	MTU int

	// Links is how many links there are, each with a receive ring of its own.
	// Zero or less means 1.
	Links int

	// Requests is how many of the largest requests can be under way when no
	// other memory is left. Zero or less means 1, which is what it takes to
	// get out of any shortage.
	Requests int

	// NormalRequests is how many can be under way in normal times, these
	// included. Zero or less means 16 times Requests; below Requests means
	// Requests.
	NormalRequests int

	// FramesPerRequest is how many frames the largest request is split into.
	// Zero or less means 1.
	FramesPerRequest int

	// BuffersPerFrame is what each of them needs until it is finished. Zero or
	// less means 2: what is sent, kept for sending it again (I12), and an
	// empty buffer to exchange for the reply (I5).
	BuffersPerFrame int

	// Stock is how many frames each link's receive ring holds when memory is
	// short: received, and not yet known to be anybody's reply. Zero or less
	// means 16.
	Stock int

	// NormalStock is the same in normal times. Zero or less means 4 times
	// Stock; below Stock means Stock.
	NormalStock int

	// Control is how many buffers are for frames that no request pays for:
	// discovery, announcements, pings. They are claimed like any others. Zero
	// means 2 for each link, less than zero none.
	Control int

	// Lock, Headroom and Align are passed on to Config.
	Lock     bool
	Headroom int
	Align    int
}

// etherHeader is the Ethernet header, which the MTU does not count. A VLAN tag
// is not in the frame: the kernel takes it out.
const etherHeader = 14

func (s Sizing) withDefaults() Sizing {
	or := func(n *int, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	or(&s.MTU, 1500)
	or(&s.Links, 1)
	or(&s.Requests, 1)
	or(&s.NormalRequests, max(s.Requests, min(16*s.Requests, maxSizing)))
	or(&s.FramesPerRequest, 1)
	or(&s.BuffersPerFrame, 2)
	or(&s.Stock, 16)
	or(&s.NormalStock, max(s.Stock, min(4*s.Stock, maxSizing)))
	if s.Control == 0 {
		s.Control = 2 * s.Links
	}
	s.Control = max(s.Control, 0)
	s.NormalRequests = max(s.NormalRequests, s.Requests)
	s.NormalStock = max(s.NormalStock, s.Stock)
	return s
}

// A Line is one entry of the bill: Count buffers of Size bytes each, and why.
type Line struct {
	What  string `json:"what"`
	Count int    `json:"count"`
	Size  int    `json:"size"` // bytes of one, with the space between it and the next
	Why   string `json:"why"`

	// Normal lines are a budget for ordinary allocation, which may fail. All
	// others are reserved at start.
	Normal bool `json:"normal"`
}

// Bytes is the line's sum.
func (l Line) Bytes() int64 { return int64(l.Count) * int64(l.Size) }

// A Plan is what New will back, line by line.
type Plan struct {
	Config Config `json:"-"`
	Lines  []Line `json:"lines"`

	Claim    int `json:"claim"`    // buffers that one request claims
	Requests int `json:"requests"` // that are guaranteed to be under way at once
	Stock    int `json:"stock"`    // buffers guaranteed to each link's receive ring
	Want     int `json:"want"`     // buffers of each link's receive ring in normal
}

// Plan works out the bill. The error says which number is too large.
func (s Sizing) Plan() (Plan, error) {
	s = s.withDefaults()
	for _, n := range []struct {
		name  string
		value int
	}{
		{"MTU", s.MTU}, {"Links", s.Links}, {"Requests", s.Requests}, {"NormalRequests", s.NormalRequests},
		{"FramesPerRequest", s.FramesPerRequest}, {"BuffersPerFrame", s.BuffersPerFrame},
		{"Stock", s.Stock}, {"NormalStock", s.NormalStock}, {"Control", s.Control},
	} {
		if n.value > maxSizing {
			return Plan{}, fmt.Errorf("reserve: Sizing.%s %d: want at most %d", n.name, n.value, maxSizing)
		}
	}
	cfg := Config{BufferSize: etherHeader + s.MTU, Headroom: s.Headroom, Align: s.Align, Lock: s.Lock, Reserve: 1}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Plan{}, err
	}
	p := Plan{
		Lines: s.lines(cfg.layout().stride), Claim: s.FramesPerRequest * s.BuffersPerFrame,
		Requests: s.Requests, Stock: s.Stock, Want: s.NormalStock,
	}
	reserved, normal := 0, 0
	for _, l := range p.Lines {
		if l.Normal {
			normal += l.Count
		} else {
			reserved += l.Count
		}
	}
	cfg.Reserve, cfg.Normal = reserved, normal
	p.Config = cfg
	_, err = cfg.withDefaults()
	return p, err
}

// maxSizing keeps the products of up to three of the numbers within an int64.
const maxSizing = 1 << 20

func (s Sizing) lines(size int) []Line {
	claim := s.FramesPerRequest * s.BuffersPerFrame
	return []Line{
		{What: "requests", Count: s.Requests * claim, Size: size,
			Why: fmt.Sprintf("%d at once x %d frames x %d buffers: sent until answered, and room for the answer",
				s.Requests, s.FramesPerRequest, s.BuffersPerFrame)},
		{What: "receive rings", Count: s.Links * s.Stock, Size: size,
			Why: fmt.Sprintf("%d links x %d frames received and not yet known to be a reply", s.Links, s.Stock)},
		{What: "control", Count: s.Control, Size: size,
			Why: "discovery, announcements, pings"},
		// In normal memory the whole of it stands, not only what goes beyond
		// the reserve: in normal the reserve is not touched.
		{What: "requests", Count: s.NormalRequests*claim + s.Control, Size: size, Normal: true,
			Why: fmt.Sprintf("%d at once, and control", s.NormalRequests)},
		{What: "receive rings", Count: s.Links * s.NormalStock, Size: size, Normal: true,
			Why: fmt.Sprintf("%d links x %d frames", s.Links, s.NormalStock)},
	}
}

// Total is the bytes that are reserved at start.
func (p Plan) Total() int64 { return p.sum(false) }

// NormalTotal is the bytes that ordinary allocation may add.
func (p Plan) NormalTotal() int64 { return p.sum(true) }

func (p Plan) sum(normal bool) int64 {
	var n int64
	for _, l := range p.Lines {
		if l.Normal == normal {
			n += l.Bytes()
		}
	}
	return n
}

// WriteTo prints the bill.
func (p Plan) WriteTo(w io.Writer) (int64, error) {
	c := &countingWriter{w: w}
	tab := tabwriter.NewWriter(c, 0, 0, 2, ' ', 0)
	section := func(title string, normal bool) {
		fmt.Fprintf(tab, "%s\tbuffers\tbytes each\tKiB\twhy\n", title)
		for _, l := range p.Lines {
			if l.Normal == normal {
				fmt.Fprintf(tab, "  %s\t%d\t%d\t%.1f\t%s\n", l.What, l.Count, l.Size, kib(l.Bytes()), l.Why)
			}
		}
		fmt.Fprintf(tab, "  total\t\t\t%.1f\t\n", kib(p.sum(normal)))
	}
	section("reserved at start", false)
	section("normal, at most", true)
	fmt.Fprintf(tab, "guaranteed with no other memory: %d requests of %d buffers at once, %d received frames on each link\n",
		p.Requests, p.Claim, p.Stock)
	err := tab.Flush()
	return c.n, err
}

func kib(n int64) float64 { return float64(n) / 1024 }

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
