package trace

import (
	"encoding/binary"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

// Limits of what a Tracker remembers.
const (
	maxOutstanding = 1 << 16
	// Patience is how long after a request an answer is still taken for its own.
	Patience = 5 * time.Minute
)

// An Event is one frame, and what it means to those before it.
type Event struct {
	Time   time.Time  `json:"time"`
	Length int        `json:"length"` // of the frame on the wire
	Src    frame.MAC  `json:"src"`
	Dst    frame.MAC  `json:"dst"`
	Addr   frame.Addr `json:"address"`
	Tag    uint32     `json:"tag"`
	Kind   string     `json:"kind"` // the command, in words
	Answer bool       `json:"answer"`
	Text   string     `json:"text"` // all of it, for people

	// Latency of an answer: since the frame with its tag was sent.
	Latency time.Duration `json:"latencyNanoseconds,omitempty"`
	// Waited of a first answer: since the request was sent for the first time.
	Waited time.Duration `json:"waitedNanoseconds,omitempty"`
	// Sent of a request counts how often, this time included; more than one is a
	// retransmission.
	Sent int `json:"sent,omitempty"`
	// Stray is an answer to no request that was seen, or one more to one that is
	// answered: an announcement, a copy, or a late one.
	Stray bool `json:"stray,omitempty"`
	// Failed is an answer that refuses.
	Failed    bool `json:"failed,omitempty"`
	Malformed bool `json:"malformed,omitempty"`
}

// A request is what is asked, however often it is sent.
type request struct {
	what     what
	kind     string
	first    time.Time
	sent     int
	answered bool
	wildcard bool
	live     int // exchanges that point here
}

// what tells requests apart.
type what struct {
	initiator frame.MAC
	addr      frame.Addr
	command   aoe.Command
	sub       uint8 // opcode, or the other commands' sub-command
	feature   uint8
	count     uint8
	lba       uint64
}

// by is what an answer is matched with.
type by struct {
	initiator frame.MAC
	command   aoe.Command
	tag       uint32
}

// An exchange is one frame of a request.
type exchange struct {
	by  by
	at  time.Time
	req *request
}

// A Tracker matches answers with requests.
type Tracker struct {
	only      frame.Addr
	exchanges map[by]*exchange
	order     []*exchange // oldest first
	requests  map[what]*request
	summary   Summary
	kinds     map[string]*Kind
}

// NewTracker makes a Tracker of the disks at only, which may hold wildcards.
func NewTracker(only frame.Addr) *Tracker {
	return &Tracker{only: only, exchanges: map[by]*exchange{}, requests: map[what]*request{}, kinds: map[string]*Kind{}}
}

// vlanLen is the length of a VLAN tag (IEEE 802.1Q).
const vlanLen = 4

// untagged takes a VLAN tag off the frame b.
func untagged(b []byte) []byte {
	const vlan = 0x8100
	if len(b) < frame.EthernetLen+vlanLen || binary.BigEndian.Uint16(b[12:]) != vlan {
		return b
	}
	return append(append([]byte(nil), b[:12]...), b[12+vlanLen:]...)
}

// Add takes the next frame, and reports whether it is one that is tracked: AoE,
// and of such a disk. b may be cut; length is the whole frame's.
func (t *Tracker) Add(at time.Time, b []byte, length int) (Event, bool) {
	b = untagged(b)
	if len(b) < frame.EthernetLen || binary.BigEndian.Uint16(b[12:]) != uint16(frame.EtherType) {
		return Event{}, false
	}
	h, arg, err := frame.Parse(b)
	if err == nil && !t.only.Covers(h.Addr) && !h.Addr.Covers(t.only) {
		return Event{}, false
	}
	t.note(at, length)
	e := Event{Time: at, Length: length, Text: frame.Describe(b)}
	if err != nil {
		e.Malformed = true
		t.summary.Malformed++
		return e, true
	}
	e.Src, e.Dst, e.Addr, e.Tag, e.Answer = h.Src, h.Dst, h.Addr, h.Tag, h.IsResponse()
	t.forget(at)
	if h.IsResponse() {
		t.answer(&e, h, arg)
	} else {
		t.ask(&e, h, arg)
	}
	return e, true
}

func (t *Tracker) note(at time.Time, length int) {
	s := &t.summary
	if s.Frames == 0 {
		s.First = at
	}
	s.Last = at
	s.Frames++
	s.Bytes += uint64(length)
}

// of says what a request asks for.
func of(h frame.Header, arg []byte) (what, string) {
	w := what{initiator: h.Src, addr: h.Addr, command: h.Command}
	switch h.Command {
	case aoe.CommandIssueATACommand:
		a, _, err := frame.ParseATA(arg)
		if err != nil {
			return w, "ATA"
		}
		w.sub, w.feature, w.count, w.lba = uint8(a.Op), a.Feature, a.Count, a.Address()
		return w, a.Op.String()
	case aoe.CommandQueryConfigInformation:
		if c, err := frame.ParseConfig(arg); err == nil {
			w.sub = uint8(c.Sub)
		}
		return w, "config"
	case aoe.CommandMACMaskList:
		if m, err := frame.ParseMask(arg); err == nil {
			w.sub = uint8(m.Sub)
		}
		return w, "mask"
	case aoe.CommandReserveRelease:
		if r, err := frame.ParseReserve(arg); err == nil {
			w.sub = uint8(r.Sub)
		}
		return w, "reserve"
	}
	return w, "other"
}

// ask takes a request.
func (t *Tracker) ask(e *Event, h frame.Header, arg []byte) {
	w, kind := of(h, arg)
	e.Kind = kind
	k := t.kind(kind)
	r := t.requests[w]
	if r == nil || r.answered {
		r = &request{what: w, kind: kind, first: e.Time, wildcard: h.Addr.IsWildcard()}
		t.requests[w] = r
		k.Requests++
	} else {
		k.Again++
	}
	r.sent++
	e.Sent = r.sent
	key := by{h.Src, h.Command, h.Tag}
	if x := t.exchanges[key]; x != nil && x.req == r {
		return // the same frame once more: its answer counts from the first
	}
	r.live++
	x := &exchange{key, e.Time, r}
	t.exchanges[key] = x
	t.order = append(t.order, x)
}

// answer takes an answer.
func (t *Tracker) answer(e *Event, h frame.Header, arg []byte) {
	x := t.exchanges[by{h.Dst, h.Command, h.Tag}]
	if x == nil || !x.req.what.addr.Covers(h.Addr) {
		_, e.Kind = of(h, nil)
		e.Stray = true
		t.summary.Stray++
		return
	}
	r := x.req
	e.Kind, e.Latency = r.kind, e.Time.Sub(x.at)
	k := t.kind(r.kind)
	if e.Failed = failed(h, arg); e.Failed {
		k.Failed++
	}
	switch {
	case !r.answered:
		r.answered = true
		e.Waited = e.Time.Sub(r.first)
		k.Answered++
		k.latency.Record(e.Waited)
	case !r.wildcard: // many answer to a wildcard
		e.Stray = true
		t.summary.Stray++
	}
}

// failed reports whether an answer is an error, AoE's or the disk's.
func failed(h frame.Header, arg []byte) bool {
	if h.IsError() {
		return true
	}
	if h.Command != aoe.CommandIssueATACommand {
		return false
	}
	a, _, err := frame.ParseATA(arg)
	return err == nil && a.Status()&frame.StatusFault != 0
}

// forget drops what is too old, or too much.
func (t *Tracker) forget(now time.Time) {
	for len(t.order) > 0 && (len(t.order) >= maxOutstanding || now.Sub(t.order[0].at) > Patience) {
		t.drop(t.order[0])
		t.order = t.order[1:]
	}
}

// drop ends an exchange, and with its last one a request.
func (t *Tracker) drop(x *exchange) {
	if t.exchanges[x.by] == x {
		delete(t.exchanges, x.by)
	}
	r := x.req
	if r.live--; r.live > 0 {
		return
	}
	if !r.answered {
		t.kind(r.kind).Unanswered++
	}
	if t.requests[r.what] == r {
		delete(t.requests, r.what)
	}
}

// kind is what is counted of requests of one name.
func (t *Tracker) kind(name string) *Kind {
	k := t.kinds[name]
	if k == nil {
		k = &Kind{Name: name}
		t.kinds[name] = k
	}
	return k
}
