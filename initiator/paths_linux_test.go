package initiator

import (
	"testing"
	"time"

	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
	"aoe/initiator/initiatortest"
)

// TestPathsOverRealInterfaces: a disk over two veth pairs; our end of the second
// goes down, its far end goes down and gets a smaller MTU, each for a moment under
// load. What was sent is answered, and the times are told.
func TestPathsOverRealInterfaces(t *testing.T) {
	noLeaks(t)
	var pairs [2]*veth.Pair
	var far, near [2]*ring.Link
	for i := range pairs {
		pair := vethtest.New(t, veth.Config{MTU: 9000})
		pairs[i], far[i], near[i] = pair, openRing(t, pair.B), openRing(t, pair.A)
		t.Cleanup(func() { near[i].Close() })
	}
	w := &twoPaths{bed: &bed{t: t}}
	w.target = initiatortest.Start(t, far[0], initiatortest.Config{Addr: e11, Sectors: 16384})
	initiatortest.Also(t, w.target, far[1])
	d, err := Open(w.ctx(), Config{Link: near[0], Others: []Port{{Link: near[1]}}, Addr: e11, DeadTime: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.disk = d
	t.Cleanup(func() { d.Close() })
	stop := w.load(4)
	defer func() { stop() }()
	w.until("both paths are used", func() bool {
		p := d.Stats().Paths
		return p[0].Read.Samples > 50 && p[1].Read.Samples > 50
	})
	for _, hurt := range []struct {
		name     string
		on, heal func() error
	}{
		{"our end down", func() error { return pairs[1].A.SetUp(false) }, func() error { return pairs[1].A.SetUp(true) }},
		{"the target's end down", func() error { return pairs[1].B.SetUp(false) }, func() error { return pairs[1].B.SetUp(true) }},
		{"the target's MTU 1500", func() error { return pairs[1].B.SetMTU(1500) }, func() error { return pairs[1].B.SetMTU(9000) }},
	} {
		began := time.Now()
		if err := hurt.on(); err != nil {
			t.Fatal(err)
		}
		w.until(hurt.name+": the path is left out", func() bool { return w.condition(1) == IsDown })
		out := time.Since(began)
		w.more(100)
		began = time.Now()
		if err := hurt.heal(); err != nil {
			t.Fatal(err)
		}
		w.until(hurt.name+": the path is taken back", func() bool { return w.condition(1) == Up })
		t.Logf("%s: left out after %v, taken back %v after it was healed", hurt.name, out.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	st := d.Stats()
	t.Logf("%d requests, %d frames sent again, %d failovers, %d redemptions; timeout of reads %v and %v",
		st.Requests, st.Retransmitted, st.Failovers, st.Redemptions, st.Paths[0].Read.Timeout, st.Paths[1].Read.Timeout)
}
