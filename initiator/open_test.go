package initiator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"

	"github.com/mdlayher/aoe"
)

// TestH15PayloadIsProven: an IDENTIFY as long as the longest frame must get
// through; where it does not, shorter ones are used.
func TestH15PayloadIsProven(t *testing.T) {
	for _, row := range []struct {
		name       string
		mtu        int
		maxSectors uint8
		swallow    int // longest frame that the switch in between carries
		payload    int // bytes
	}{
		{"Ethernet", 1500, 0, 0, 1024},
		{"jumbo frames", 9000, 0, 0, 8192},
		{"the target takes less", 9000, 2, 0, 1024},
		{"the target takes 17, which is not used", 9000, 17, 0, 8192},
		{"jumbo frames die in a switch", 9000, 0, 1518, 1024},
		{"half of them do", 9000, 0, 5000, 4096},
		{"only the shortest pass", 9000, 0, 600, 512},
		{"large jumbo frames", 16000, 0, 0, 12288},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBed(t, bedConfig{
				sw:     linktest.Config{MTU: row.mtu},
				target: initiatortest.Config{MaxSectors: row.maxSectors, Faults: initiatortest.Faults{Swallow: row.swallow}},
			})
			if got := b.disk.Payload(); got != row.payload {
				t.Errorf("payload of %d bytes, want %d", got, row.payload)
			}
			if got, want := b.target.Seen().LongestIdentify, frame.ATADataOffset+row.payload; row.swallow == 0 && got != want {
				t.Errorf("the longest IDENTIFY had %d bytes, want %d", got, want)
			}
			p := pattern(1, 64<<10)
			if _, err := b.disk.WriteAt(p, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestH15WhichDisk: what Open does when it is not clear which disk is meant.
func TestH15WhichDisk(t *testing.T) {
	second := func(t *testing.T, b *bed, serial string) {
		initiatortest.Start(t, b.sw.Port(frame.MAC{2, 0, 0, 0, 0, 7}), initiatortest.Config{Addr: e11, Serial: serial})
	}
	t.Run("two disks with one address", func(t *testing.T) {
		b := newSegment(t, bedConfig{})
		second(t, b, "other")
		if _, err := b.tryOpen(Config{}); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "other") {
			t.Errorf("error %v, want one that names both", err)
		}
	})
	t.Run("two, and one is asked for", func(t *testing.T) {
		b := newSegment(t, bedConfig{})
		second(t, b, "other")
		b.open(Config{Serial: "other"})
		if got := b.disk.Target().MAC; got[5] != 7 {
			t.Errorf("opened the one at %v", got)
		}
	})
	t.Run("two, and one answers queries only", func(t *testing.T) {
		b := newSegment(t, bedConfig{})
		deaf := initiatortest.Start(t, b.sw.Port(frame.MAC{2, 0, 0, 0, 0, 0}), initiatortest.Config{Addr: e11})
		deaf.Change(func(c *initiatortest.Config) { c.Faults.QueriesOnly = true })
		b.open(Config{})
		if got := b.disk.Target().MAC; got != theirs {
			t.Errorf("opened the one at %v", got)
		}
	})
	t.Run("one disk on two ports", func(t *testing.T) {
		b := newSegment(t, bedConfig{})
		second(t, b, "initiatortest")
		b.open(Config{})
	})
	t.Run("another than asked for", func(t *testing.T) {
		b := newSegment(t, bedConfig{})
		if _, err := b.tryOpen(Config{Serial: "mine"}); !errors.Is(err, ErrReplaced) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		b := newSegment(t, bedConfig{target: initiatortest.Config{Faults: initiatortest.Faults{Silent: true}}})
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := Open(ctx, Config{Link: b.port, Addr: e11})
		if !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		b.port.SetUp(false)
		ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if _, err = Open(ctx, Config{Link: b.port, Addr: e11}); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("error %v, want one that says that the port is down", err)
		}
	})
}

// TestOpenThroughLoss: 20 % of all frames are lost, and still the full payload
// is found.
func TestOpenThroughLoss(t *testing.T) {
	for seed := range uint64(5) {
		t.Run("", func(t *testing.T) {
			b := newBed(t, bedConfig{sw: linktest.Config{Seed: seed, Faults: linktest.Faults{Loss: 0.2, Duplicate: 0.2, Reorder: 0.2}}})
			if b.disk.Payload() != 8192 {
				t.Errorf("seed %d: payload %d", seed, b.disk.Payload())
			}
		})
	}
}

func TestDiscover(t *testing.T) {
	b := newSegment(t, bedConfig{})
	for i := range 3 {
		initiatortest.Start(t, b.sw.Port(frame.MAC{2, 0, 0, 0, 1, byte(i)}),
			initiatortest.Config{Addr: frame.Addr{Shelf: 7, Slot: uint8(2 - i)}, Buffers: uint16(10 + i)})
	}
	for _, row := range []struct {
		addr frame.Addr
		want string
	}{
		{frame.Anywhere, "e1.1 e7.0 e7.1 e7.2"},
		{frame.Addr{Shelf: 7, Slot: frame.AnySlot}, "e7.0 e7.1 e7.2"},
		{frame.Addr{Shelf: frame.AnyShelf, Slot: 1}, "e1.1 e7.1"},
		{e11, "e1.1"},
		{frame.Addr{Shelf: 9, Slot: 9}, ""},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
		found, err := Discover(ctx, b.port, row.addr)
		cancel()
		var names []string
		for _, f := range found {
			names = append(names, f.Addr.String())
		}
		if got := strings.Join(names, " "); got != row.want || err != nil {
			t.Errorf("%v: found %q, %v; want %q", row.addr, got, err, row.want)
		}
		for _, f := range found {
			if f.Addr.Shelf == 7 && f.BufferCount != 12-int(f.Addr.Slot) || f.RTT <= 0 || f.MaxSectors != 255 {
				t.Errorf("found %+v", f)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Discover(ctx, b.port, e11); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if found, err := Discover(context.Background(), b.port, e11); len(found) != 1 || err != nil {
		t.Errorf("without a deadline: %v, %v", found, err)
	}
}

func TestSingleCommands(t *testing.T) {
	b := newSegment(t, bedConfig{})
	found, err := Discover(b.ctx(), b.port, e11)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	to := found[0]
	if rtt, err := Ping(b.ctx(), b.port, to); rtt <= 0 || err != nil {
		t.Errorf("ping: %v, %v", rtt, err)
	}
	if id, err := Identify(b.ctx(), b.port, to); id.Serial != "initiatortest" || err != nil {
		t.Errorf("identify: %+v, %v", id, err)
	}
	if mode, err := CheckPower(b.ctx(), b.port, to); mode != 0xff || err != nil {
		t.Errorf("check power: %#x, %v", mode, err)
	}
	if got, err := QueryConfig(b.ctx(), b.port, to, aoe.ConfigCommandSet, "alpha"); got.ConfigString != "alpha" || err != nil {
		t.Errorf("set: %+v, %v", got, err)
	}
	var te *TargetError
	if _, err := QueryConfig(b.ctx(), b.port, to, aoe.ConfigCommandSet, "beta"); !errors.As(err, &te) || te.Code != aoe.ErrorConfigStringPresent {
		t.Errorf("set another: %v", err)
	}
	if got, err := QueryConfig(b.ctx(), b.port, to, aoe.ConfigCommandForceSet, "beta"); got.ConfigString != "beta" || err != nil {
		t.Errorf("force set: %+v, %v", got, err)
	}
	if got, err := QueryConfig(b.ctx(), b.port, to, aoe.ConfigCommandTestPrefix, "be"); got.ConfigString != "beta" || err != nil {
		t.Errorf("prefix: %+v, %v", got, err)
	}
	if _, err := QueryConfig(b.ctx(), b.port, to, aoe.ConfigCommandRead, strings.Repeat("x", 1025)); err == nil {
		t.Error("a string of 1025 bytes was sent")
	}
	b.target.Change(func(c *initiatortest.Config) { c.Sectors = 0; c.Faults.WrongAddr = true })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Identify(ctx, b.port, to); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("answers from another address: %v", err)
	}
}

// TestH13SilenceIsLegal: a config test that does not fit is not answered; that
// is a result, and no reason to think the target dead.
func TestH13SilenceIsLegal(t *testing.T) {
	b := newSegment(t, bedConfig{})
	found, err := Discover(b.ctx(), b.port, e11)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = QueryConfig(ctx, b.port, found[0], aoe.ConfigCommandTest, "not it")
	if !errors.Is(err, ErrNoAnswer) || errors.Is(err, ErrDown) {
		t.Errorf("error %v", err)
	}
	b.open(Config{})
	if s := b.disk.State(); s.Condition != Up {
		t.Errorf("state %+v", s)
	}
}

func TestConfigIsChecked(t *testing.T) {
	l := linktest.NewSwitch(linktest.Config{}).Port(ours)
	for name, c := range map[string]Config{
		"no link":          {Addr: e11},
		"wildcard":         {Link: l, Addr: frame.Anywhere},
		"odd request":      {Link: l, Addr: e11, MaxRequest: 1000},
		"negative request": {Link: l, Addr: e11, MaxRequest: -1},
		"negative depth":   {Link: l, Addr: e11, Depth: -1},
		"negative window":  {Link: l, Addr: e11, Window: -1},
		"long serial":      {Link: l, Addr: e11, Serial: strings.Repeat("x", 21)},
	} {
		if _, err := Open(context.Background(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := c.Plan(9000, 0); err == nil && c.Link != nil {
			t.Errorf("%s: planned", name)
		}
	}
	if _, err := (Config{Link: l, Addr: e11}).Plan(100, 0); err == nil {
		t.Error("planned for an MTU that no sector fits")
	}
}

// TestPlanIsASum: the bill of the defaults, at the two usual MTUs.
func TestPlanIsASum(t *testing.T) {
	l := linktest.NewSwitch(linktest.Config{}).Port(ours)
	for _, row := range []struct{ mtu, frames int }{{1500, 128}, {9000, 17}} {
		p, err := Config{Link: l, Addr: e11}.Plan(row.mtu, 0)
		if err != nil {
			t.Fatal(err)
		}
		if p.Claim != 2*row.frames || p.Config.Reserve != 2*row.frames+stockReserved || p.Config.Normal != 64*2*row.frames+stockNormal {
			t.Errorf("MTU %d: claim %d, reserve %d, normal %d", row.mtu, p.Claim, p.Config.Reserve, p.Config.Normal)
		}
	}
}
