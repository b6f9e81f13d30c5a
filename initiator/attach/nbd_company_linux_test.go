package attach_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"aoe/frame"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/initiator/initiatortest"
)

// openOnVeth opens a disk over a real interface, whose loop accompanies clients.
func openOnVeth(t testing.TB, depth int) *initiator.Disk {
	t.Helper()
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	open := func(h *veth.Host) *ring.Link {
		return vethtest.Open(t, h, func() (*ring.Link, error) { return ring.Open(ring.Config{Interface: h.Interface}) })
	}
	addr := frame.Addr{Shelf: 1, Slot: 1}
	initiatortest.Start(t, open(pair.B), initiatortest.Config{Addr: addr, Sectors: 16384})
	l := open(pair.A)
	t.Cleanup(func() { l.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: addr, Depth: depth, Probe: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if !d.Accompanies() {
		t.Fatal("the loop of a disk on a ring cannot have companions")
	}
	return d
}

// TestNBDOnTheDisksLoop: several clients at once, whose requests are more than the
// disk admits, on a loop that they share; what is read is what was written.
func TestNBDOnTheDisksLoop(t *testing.T) {
	noLeaks(t)
	d := openOnVeth(t, 6)
	n, socket := serveNBD(t, attach.NBDConfig{Disk: attach.Over(d), InFlight: 4})
	var clients sync.WaitGroup
	for k := range 3 {
		c := dialNBD(t, socket, k%2 == 0)
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 3))
			region := make([]byte, 1<<20)
			for range 40 {
				c.converse(rng, region, uint64(k)<<20)
			}
			c.request(cmdDisc, 0, 0, 0, nil)
			c.gone()
		})
	}
	clients.Wait()
	if s := n.Stats(); s.Broken != 0 || s.Connections != 3 {
		t.Errorf("%+v: want three connections that ended well", s)
	}
}

// TestNBDOutlivesTheDisksLoop: when the disk is closed, the connection goes on
// without its loop, and tells the client what has happened.
func TestNBDOutlivesTheDisksLoop(t *testing.T) {
	noLeaks(t)
	d := openOnVeth(t, 6)
	_, socket := serveNBD(t, attach.NBDConfig{Disk: attach.Over(d)})
	c := dialNBD(t, socket, true)
	data := pattern(5, 4096)
	if a, _ := c.do(cmdWrite, 0, 4096, 4096, data); a.errno != eOK {
		t.Fatalf("write: error %d", a.errno)
	}
	if a, got := c.do(cmdRead, 0, 4096, 4096, nil); a.errno != eOK || !bytes.Equal(got, data) {
		t.Fatalf("read: error %d, or other data", a.errno)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if a, _ := c.do(cmdRead, 0, 0, 4096, nil); a.errno != eSHUTDOWN {
			t.Fatalf("read of a closed disk: error %d, want %d", a.errno, eSHUTDOWN)
		}
	}
	// One that comes only now has no loop at all.
	late := dialNBD(t, socket, true)
	if a, _ := late.do(cmdRead, 0, 0, 4096, nil); a.errno != eSHUTDOWN {
		t.Fatalf("read of a disk that was closed before: error %d, want %d", a.errno, eSHUTDOWN)
	}
}
