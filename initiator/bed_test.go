package initiator

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"
)

var (
	ours   = frame.MAC{2, 0, 0, 0, 0, 1}
	theirs = frame.MAC{2, 0, 0, 0, 0, 2}
	e11    = frame.Addr{Shelf: 1, Slot: 1}
)

// A bed is a switch with a target on one port and, on the other, the disk that
// is tested. Everything in it is gone when the test ends, goroutines too.
type bed struct {
	t      testing.TB
	sw     *linktest.Switch
	port   *linktest.Port // ours
	target *initiatortest.Target
	disk   *Disk
}

type bedConfig struct {
	sw     linktest.Config
	target initiatortest.Config
	disk   Config
}

func newBed(t testing.TB, c bedConfig) *bed {
	t.Helper()
	noLeaks(t)
	b := newSegment(t, c)
	b.open(c.disk)
	return b
}

// newSegment is a bed without a disk.
func newSegment(t testing.TB, c bedConfig) *bed {
	t.Helper()
	if c.sw.MTU == 0 {
		c.sw.MTU = 9000
	}
	b := &bed{t: t, sw: linktest.NewSwitch(c.sw)}
	b.port = b.sw.Port(ours)
	c.target.Addr, c.target.Recent = e11, 4096
	b.target = initiatortest.Start(t, b.sw.Port(theirs), c.target)
	return b
}

func (b *bed) open(c Config) {
	b.t.Helper()
	d, err := b.tryOpen(c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.disk = d
	b.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.t.Errorf("Close: %v", err)
		}
		if n := len(d.idle); n != d.Depth() {
			b.t.Errorf("%d of %d requests came back", n, d.Depth())
		}
		if s := d.Stats().Reserve; s.Granted != 0 || !d.reserveClosed {
			b.t.Errorf("%d buffers are still granted, memory given back: %v", s.Granted, d.reserveClosed)
		}
	})
}

func (b *bed) tryOpen(c Config) (*Disk, error) {
	c.Link, c.Addr = b.port, e11
	if c.Rand == nil {
		c.Rand = rand.NewPCG(1, 1)
	}
	return Open(b.ctx(), c)
}

// ctx ends long after a test that hangs should have succeeded.
func (b *bed) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	b.t.Cleanup(cancel)
	return ctx
}

// until waits for a condition that some other goroutine brings about.
func (b *bed) until(what string, f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("still not so after 20 s: %s", what)
		}
	}
}

// noLeaks checks that all goroutines of this package are gone when the test
// has cleaned up.
func noLeaks(t testing.TB) {
	t.Cleanup(func() {
		var stacks string
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			buf := make([]byte, 1<<20)
			stacks = string(buf[:runtime.Stack(buf, true)])
			if !strings.Contains(stacks, "initiator.(*Disk)") && !strings.Contains(stacks, "initiatortest.(*Target)") &&
				!strings.Contains(stacks, "reserve.(*Reserve)") {
				return
			}
		}
		t.Errorf("goroutines left behind:\n%s", stacks)
	})
}

// pattern is n bytes that differ from those of another seed.
func pattern(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 9))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

func same(t testing.TB, got, want []byte, what string) {
	t.Helper()
	if !bytes.Equal(got, want) {
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("%s: differs at byte %d of %d", what, i, len(want))
			}
		}
	}
}
