package attach_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/initiator/initiatortest"
)

var e11 = frame.Addr{Shelf: 1, Slot: 1}

// openAoE opens a disk of a small target across a switch in memory, which
// behaves as cfg says.
func openAoE(t testing.TB, sw linktest.Config, disk initiator.Config) (*initiator.Disk, *initiatortest.Target) {
	t.Helper()
	s := linktest.NewSwitch(sw)
	target := initiatortest.Start(t, s.Port(frame.MAC{2, 0, 0, 0, 0, 2}), initiatortest.Config{Addr: e11, Sectors: 16 << 11, Recent: 4096})
	port := s.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	t.Cleanup(func() { port.Close() })
	disk.Link, disk.Addr = port, e11
	d, err := initiator.Open(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the disk: %v", err)
		}
	})
	return d, target
}

// TestOverTellsTheTruth: what front ends are told is what the disk says.
func TestOverTellsTheTruth(t *testing.T) {
	noLeaks(t)
	d, _ := openAoE(t, linktest.Config{MTU: 9000}, initiator.Config{MaxRequest: 64 << 10})
	o := attach.Over(d)
	got := o.Info()
	id := d.Identify()
	want := attach.Info{
		Name: "e1.1", Serial: id.Serial, Model: id.Model, BlockSize: 512, Preferred: 8192,
		MaxRequest: 64 << 10, MaxTrim: d.MaxTrim(), Depth: d.Depth(),
		WriteCache: id.WriteCache, Trim: id.Trim, TrimZeroes: id.TrimZeroes,
	}
	if got != want {
		t.Errorf("told %+v,\nwant %+v", got, want)
	}
	if o.Size() != 16<<20 {
		t.Errorf("size %d", o.Size())
	}
}

// TestNBDOverTheNetwork: the whole initiator beneath an NBD client, with frames
// of both usual sizes, on a network that loses some: what was written is read,
// and it is on the target.
func TestNBDOverTheNetwork(t *testing.T) {
	for _, row := range []struct {
		name string
		sw   linktest.Config
	}{
		{"frames of 1500", linktest.Config{MTU: 1500, Pad: true}},
		{"frames of 9000", linktest.Config{MTU: 9000}},
		{"frames of 9000, two in a hundred lost", linktest.Config{MTU: 9000, Faults: linktest.Faults{Loss: 0.02, Duplicate: 0.02}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			noLeaks(t)
			row.sw.Seed = uint64(time.Now().UnixNano())
			t.Logf("seed %d", row.sw.Seed)
			d, target := openAoE(t, row.sw, initiator.Config{MaxRequest: 32 << 10, Depth: 8})
			_, socket := serveNBD(t, attach.NBDConfig{Disk: attach.Over(d), InFlight: 8})
			c := dialNBD(t, socket, true)
			rng := rand.New(rand.NewPCG(row.sw.Seed, 0))
			region := make([]byte, 1<<20)
			for range 20 {
				c.converse(rng, region, 4<<20)
			}
			if a, _ := c.do(cmdFlush, 0, 0, 0, nil); a.errno != 0 {
				t.Errorf("flush: error %d", a.errno)
			}
			if got := target.Bytes(4<<20, len(region)); !bytes.Equal(got, region) {
				t.Error("the target has other data than was written")
			}
			c.request(cmdDisc, 0, 0, 0, nil)
			c.gone()
		})
	}
}

// TestNBDTellsTargetErrors: what the target answers, and that it does not,
// reaches the client as an error, and nothing stays behind.
func TestNBDTellsTargetErrors(t *testing.T) {
	for _, row := range []struct {
		name   string
		faults initiatortest.Faults
		want   uint32
	}{
		{"an ATA error", initiatortest.Faults{ATAError: frame.ErrorUNC}, eIO},
		{"reserved by another", initiatortest.Faults{AoEError: 6}, eIO},
		{"dead", initiatortest.Faults{Silent: true}, eIO},
	} {
		t.Run(row.name, func(t *testing.T) {
			noLeaks(t)
			d, target := openAoE(t, linktest.Config{MTU: 9000}, initiator.Config{MaxRequest: 32 << 10, DeadTime: 100 * time.Millisecond})
			_, socket := serveNBD(t, attach.NBDConfig{Disk: attach.Over(d)})
			c := dialNBD(t, socket, true)
			target.Change(func(cfg *initiatortest.Config) { cfg.Faults = row.faults })
			if a, _ := c.do(cmdRead, 0, 0, 128<<10, nil); a.errno != row.want {
				t.Errorf("read: error %d, want %d", a.errno, row.want)
			}
			if a, _ := c.do(cmdWrite, 0, 0, 4096, make([]byte, 4096)); a.errno != row.want {
				t.Errorf("write: error %d, want %d", a.errno, row.want)
			}
			target.Change(func(cfg *initiatortest.Config) { cfg.Faults = initiatortest.Faults{} })
			if !eventually(func() bool { a, _ := c.do(cmdRead, 0, 0, 512, nil); return a.errno == eOK }) {
				t.Error("the disk does not come back")
			}
		})
	}
}

// TestNBDOverAClosedDisk: closing the disk under a server ends what is in
// flight, whatever the target does.
func TestNBDOverAClosedDisk(t *testing.T) {
	noLeaks(t)
	d, target := openAoE(t, linktest.Config{MTU: 9000}, initiator.Config{DeadTime: -1})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: attach.Over(d)})
	c := dialNBD(t, socket, true)
	target.Change(func(cfg *initiatortest.Config) { cfg.Faults.Silent = true })
	c.request(cmdRead, 0, 0, 4096, nil)
	if !eventually(func() bool { return d.Stats().InFlight > 0 }) {
		t.Fatal("not in flight")
	}
	closed := make(chan error, 1)
	go func() { closed <- d.Close() }()
	if a := c.answer(nil, 0); a.errno != eSHUTDOWN {
		t.Errorf("error %d, want ESHUTDOWN", a.errno)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestI10OverAllocatesNothing: the layer between front ends and the disk costs
// no memory.
func TestI10OverAllocatesNothing(t *testing.T) {
	d, _ := openAoE(t, linktest.Config{MTU: 9000}, initiator.Config{Probe: -1})
	o := attach.Over(d)
	for _, op := range []attach.Op{
		{Kind: attach.Read, Length: 64 << 10}, {Kind: attach.Write, Length: 64 << 10}, {Kind: attach.Flush},
	} {
		if n := testing.AllocsPerRun(100, func() {
			r, err := o.Admit(context.Background(), op)
			if err != nil {
				t.Fatal(err)
			}
			r.Release()
		}); n != 0 {
			t.Errorf("%v: %v allocations", op.Kind, n)
		}
	}
}

// TestOverIsTheDisk: requests of a front end and of the disk's own methods are
// admitted from one stock, and a closed disk admits none.
func TestOverIsTheDisk(t *testing.T) {
	noLeaks(t)
	d, _ := openAoE(t, linktest.Config{MTU: 9000}, initiator.Config{Depth: 3})
	o := attach.Over(d)
	var held []attach.Request
	for range 3 {
		r, err := o.Admit(t.Context(), attach.Op{Kind: attach.Read, Length: 512})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := o.Admit(ctx, attach.Op{Kind: attach.Read, Length: 512}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fourth of three: %v", err)
	}
	for _, r := range held {
		r.Release()
	}
	if _, err := d.ReadAt(make([]byte, 1000), 100); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := o.Admit(t.Context(), attach.Op{Kind: attach.Flush}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed disk: %v", err)
	}
}
