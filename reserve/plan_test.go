package reserve

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestPlanBacksWhatItPromises: every plan's Config is accepted, and then gives
// exactly what the plan says, with no normal memory at all.
func TestPlanBacksWhatItPromises(t *testing.T) {
	for _, s := range []Sizing{
		{},
		{MTU: 9000, FramesPerRequest: 16, Requests: 2},
		{MTU: 9000, Links: 3, FramesPerRequest: 4, Requests: 8, Stock: 5, NormalStock: 5, Control: -1},
		{MTU: 1500, Links: 2, FramesPerRequest: 86, BuffersPerFrame: 1, NormalRequests: 1, Control: 7, Headroom: 36, Align: 4096},
	} {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			p, err := s.Plan()
			if err != nil {
				t.Fatal(err)
			}
			x := &rig{t: t, mem: newFakeMemory()}
			p.Config.FailNormal = func() bool { return true }
			x.open(p.Config)
			for range max(s.Links, 1) {
				if n := len(x.NewStock(p.Want, p.Stock).Frames()); n != p.Stock {
					t.Errorf("%d slots, want %d", n, p.Stock)
				}
			}
			grants := x.grants(p.Requests, p.Claim)
			for _, g := range grants {
				x.admit(g, p.Claim)
			}
			releaseAll(grants)
			if int64(len(x.arena)) < p.Total() {
				t.Errorf("%d bytes mapped, %d on the bill", len(x.arena), p.Total())
			}
		})
	}
}

// TestPlanNormal: with normal memory, all requests of the plan fit at once, and
// the reserve is not touched.
func TestPlanNormal(t *testing.T) {
	p, err := Sizing{MTU: 9000, Links: 2, FramesPerRequest: 8, Requests: 2, NormalRequests: 20}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	x := &rig{t: t, mem: newFakeMemory()}
	x.open(p.Config)
	for range 2 {
		if n := len(x.NewStock(p.Want, p.Stock).Frames()); n != p.Want {
			t.Errorf("%d slots, want %d", n, p.Want)
		}
	}
	grants := x.grants(20, p.Claim)
	for _, g := range grants {
		x.admit(g, p.Claim)
	}
	if st := x.Stats(); st.ReserveLow != st.Reserve || st.Regime != Normal {
		t.Errorf("%+v", st)
	}
	releaseAll(grants)
}

// TestPlanEstimateIsFramesTimesFrameSize: the estimate that was posted in 2005
// came to 4 bytes a frame by a slip of integers, one page for 50 frames. Ours
// is the size of the mapping, to the page.
func TestPlanEstimateIsFramesTimesFrameSize(t *testing.T) {
	for _, c := range []struct{ mtu, pages int }{
		{1500, 19}, // 50 x 1536 (24 cache lines)
		{2034, 25}, // 50 x 2048
		{9004, 111},
	} {
		p, err := Sizing{MTU: c.mtu, Stock: 48, BuffersPerFrame: 2, Control: -1}.Plan()
		if err != nil {
			t.Fatal(err)
		}
		pages := roundUp(int(p.Total()), pageSize) / pageSize
		if pages != c.pages || p.Config.Reserve != 50 {
			t.Errorf("MTU %d: %d pages for %d frames, want %d for 50", c.mtu, pages, p.Config.Reserve, c.pages)
		}
		if got := p.Config.layout().bytes(50) / pageSize; got != pages {
			t.Errorf("MTU %d: %d pages mapped, %d on the bill", c.mtu, got, pages)
		}
	}
}

func TestPlanRefusesNonsense(t *testing.T) {
	for _, c := range []struct {
		s    Sizing
		want string
	}{
		{Sizing{MTU: 1 << 30}, "Sizing.MTU"},
		{Sizing{Requests: 1 << 40}, "Sizing.Requests"},
		{Sizing{FramesPerRequest: 1 << 20, Requests: 1 << 20}, "Config.Reserve"},
		{Sizing{NormalRequests: 1 << 20, FramesPerRequest: 1 << 10}, "Config.Normal"},
		{Sizing{Align: 3000}, "Config.Align"},
		{Sizing{Headroom: 4000}, "Config.Headroom"},
	} {
		if _, err := c.s.Plan(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want one about %s", c.s, err, c.want)
		}
	}
}

func TestPlanPrintsTheBill(t *testing.T) {
	p, err := Sizing{MTU: 9000, FramesPerRequest: 16, Requests: 2}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n, err := p.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Errorf("%d bytes, %v, wrote %d", n, err, out.Len())
	}
	const want = `reserved at start  buffers  bytes each  KiB     why
  requests         64       9024        564.0   2 at once x 16 frames x 2 buffers: sent until answered, and room for the answer
  receive rings    16       9024        141.0   1 links x 16 frames received and not yet known to be a reply
  control          2        9024        17.6    discovery, announcements, pings
  total                                 722.6   
normal, at most    buffers  bytes each  KiB     why
  requests         1026     9024        9041.6  32 at once, and control
  receive rings    64       9024        564.0   1 links x 64 frames
  total                                 9605.6  
guaranteed with no other memory: 2 requests of 32 buffers at once, 16 received frames on each link
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}

func TestConfig(t *testing.T) {
	ok := Config{BufferSize: 1514, Reserve: 4, Normal: 4}
	for _, c := range []struct {
		name string
		f    func(*Config)
		want string
	}{
		{"nothing wrong", func(c *Config) {}, ""},
		{"no size", func(c *Config) { c.BufferSize = 0 }, "BufferSize 0"},
		{"a huge size", func(c *Config) { c.BufferSize = 1 << 30 }, "BufferSize"},
		{"no reserve", func(c *Config) { c.Reserve = 0 }, "Reserve 0"},
		{"a huge reserve", func(c *Config) { c.Reserve = 1 << 30 }, "Reserve"},
		{"a huge budget", func(c *Config) { c.Normal = 1 << 30 }, "Normal"},
		{"a negative budget", func(c *Config) { c.Normal = -1 }, ""},
		{"headroom beyond the buffer", func(c *Config) { c.Headroom = 2000 }, "Headroom"},
		{"negative headroom", func(c *Config) { c.Headroom = -1 }, "Headroom"},
		{"odd alignment", func(c *Config) { c.Align = 96 }, "Align 96"},
		{"an alignment above a page", func(c *Config) { c.Align = 8192 }, "Align 8192"},
	} {
		cfg := ok
		c.f(&cfg)
		r, err := New(cfg)
		if got := fmt.Sprint(err); (c.want == "") != (err == nil) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err == nil {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
