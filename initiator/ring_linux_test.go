package initiator

import (
	"testing"

	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
	"aoe/initiator/initiatortest"
)

// openRing opens a port of a host.
func openRing(t *testing.T, h *veth.Host) *ring.Link {
	t.Helper()
	return vethtest.Open(t, h, func() (*ring.Link, error) { return ring.Open(ring.Config{Interface: h.Interface}) })
}

// TestOverARealInterface: a disk over AF_PACKET rings on a veth pair, and what
// happens when the cable is out for a moment.
func TestOverARealInterface(t *testing.T) {
	noLeaks(t)
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	b := &bed{t: t}
	b.target = initiatortest.Start(t, openRing(t, pair.B), initiatortest.Config{Addr: e11, Sectors: 16384})
	l := openRing(t, pair.A)
	t.Cleanup(func() { l.Close() })
	d, err := Open(b.ctx(), Config{Link: l, Addr: e11, DeadTime: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })

	want := pattern(1, 4<<20)
	if _, err := d.WriteAt(want, 4096); err != nil {
		t.Fatal(err)
	}
	if err := pair.A.SetUp(false); err != nil {
		t.Fatal(err)
	}
	b.until("the port is seen down", func() bool { return d.State().Condition == Degraded })
	got := make([]byte, len(want))
	read := make(chan error, 1)
	go func() {
		_, err := d.ReadAt(got, 4096)
		read <- err
	}()
	b.until("the read is lost", func() bool { return d.Stats().Timeouts > 0 })
	if err := pair.A.SetUp(true); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	same(t, got, want, "read back")
	b.until("the disk is up", func() bool { return d.State().Condition == Up })
}
