package reserve

import "testing"

// TestStockFollowsTheRegime: full in normal, what was guaranteed in crunch, and
// full again, also while claims never cease.
func TestStockFollowsTheRegime(t *testing.T) {
	x := newRig(t, 16, 32)
	grants := x.grants(4, 6)
	s := x.NewStock(12, 4)
	for _, want := range []struct {
		fail  bool
		slots int
	}{{false, 12}, {true, 4}, {true, 4}, {false, 12}, {true, 4}, {false, 12}} {
		x.fail = want.fail
		// Two of three grants are always out, and one more waits.
		for i := range 3 * maxPatience {
			g := grants[i%3]
			if g.phase == held {
				g.Release()
			}
			x.TryAdmit(g, 6)
			s.Frames()
		}
		if n := len(s.Frames()); n != want.slots {
			t.Fatalf("%d slots with failing %v, want %d: %+v", n, want.fail, want.slots, x.Stats())
		}
		x.audit(t)
	}
	releaseAll(grants)
}

// TestStockRegrowsUnderOverload: claims never cease and more are always waiting,
// so that every buffer that is freed has a taker. After the crunch the stock
// still gets back to its size: claims leave it what it lacks.
func TestStockRegrowsUnderOverload(t *testing.T) {
	x := newRig(t, 16, 32)
	s := x.NewStock(12, 4)
	var running []*Grant
	admitted := func(g *Grant, err error) { running = append(running, g) }
	claim := func(g *Grant) {
		if ok, err := x.AdmitFunc(g, 5, admitted); err != nil {
			t.Fatal(err)
		} else if ok {
			running = append(running, g)
		}
	}
	for _, g := range x.grants(16, 5) {
		claim(g)
	}
	finishOldest := func() {
		g := running[0]
		running = running[1:]
		g.Release()
		claim(g)
		s.Frames()
	}
	x.fail = true
	finishOldest()
	for range maxPatience {
		finishOldest()
	}
	if st := x.Stats(); st.Stocked != 4 || st.Queue < 8 {
		t.Fatalf("%+v", st)
	}
	x.fail = false
	for range 2 * maxPatience {
		finishOldest()
	}
	if st := x.Stats(); st.Stocked != 12 || st.Regime != Normal || st.Queue < 8 {
		t.Errorf("%+v", st)
	}
	for len(running) > 0 {
		g := running[0]
		running = running[1:]
		g.Release()
	}
}

// TestExchangeAcrossOrigins: whatever the origins that are exchanged, the
// largest claim can be served once the others are finished, with the slabs
// returned as far as that allows. This is the argument of doc.go, tried.
func TestExchangeAcrossOrigins(t *testing.T) {
	x := newRig(t, 12, 16) // slabs of 4
	g, big := x.NewGrant(8), x.NewGrant(8)
	s := x.NewStock(8, 4)
	if n := len(s.Frames()); n != 8 {
		t.Fatalf("%d slots", n)
	}
	// A claim from the reserve, though normal memory is fine: the stock, still
	// at its full size, takes the reserve's buffers in.
	x.fail = true
	x.admit(g, 8)
	for i := range 8 {
		s.frames[i] = s.frames[i][:60] // this turn began before the crunch
		s.Exchange(i, g, i)
	}
	if n, r := origins(g); n != 8 || r != 0 {
		t.Fatalf("the grant has %d of normal memory and %d of the reserve after the exchange", n, r)
	}
	if st := x.Stats(); st.Mixed != 8 || st.Exchanges != 8 {
		t.Errorf("%+v", st)
	}
	g.Release()
	// The receiver does not turn: it sits on 8 of the reserve's 12 buffers, and
	// the claim fits into what is left of neither origin alone under pressure.
	x.SetPressure(true)
	st := x.Stats()
	if st.FreeReserve != 4 || st.Normal < 4 {
		t.Fatalf("the slabs that back the stock's surplus were returned: %+v", st)
	}
	x.admit(big, 8)
	x.audit(t)
	big.Release()
	s.Frames() // now it turns, and everything can be returned
	if st := x.Stats(); st.Normal != 0 || st.FreeReserve != 8 {
		t.Errorf("%+v", st)
	}
}

// TestStockPrefersNormal: after an exchange with a claim from the reserve, the
// stock gives the reserve's buffer back as soon as it can.
func TestStockPrefersNormal(t *testing.T) {
	x := newRig(t, 12, 16)
	g := x.NewGrant(4)
	s := x.NewStock(8, 4)
	x.fail = true
	x.admit(g, 4)
	x.fail = false
	x.SetPressure(true)
	x.SetPressure(false) // normal again; the grant still holds the reserve's
	x.wantRegime(Normal, 1, 1)
	turn(s, 2)
	s.Exchange(0, g, 0)
	s.Exchange(1, g, 1)
	s.Frames()
	for i, sl := range s.slots {
		if sl.b.origin == FromReserve {
			t.Errorf("slot %d keeps a buffer of the reserve", i)
		}
	}
	g.Release()
	if st := x.Stats(); st.FreeReserve != 12 {
		t.Errorf("%d of the reserve are free, want all 12", st.FreeReserve)
	}
}

// TestSeveralStocks: one for each link, and each keeps its own guarantee.
func TestSeveralStocks(t *testing.T) {
	x := newRig(t, 16, 40)
	g := x.NewGrant(4)
	stocks := []*Stock{x.NewStock(10, 3), x.NewStock(8, 5), x.NewStock(2, 4)}
	for i, want := range []int{10, 8, 4} { // want below guaranteed means guaranteed
		if n := len(stocks[i].Frames()); n != want {
			t.Errorf("stock %d has %d slots, want %d", i, n, want)
		}
	}
	x.fail = true
	x.turnover(g, 4, 1)
	for i, want := range []int{3, 5, 4} {
		if n := len(stocks[i].Frames()); n != want {
			t.Errorf("stock %d has %d slots in crunch, want %d", i, n, want)
		}
	}
	x.turnover(g, 4, 10)
}

// TestFramesAfterClose: the receiver learns of the end by having nothing to
// receive into.
func TestFramesAfterClose(t *testing.T) {
	x := newRig(t, 8, 8)
	s := x.NewStock(4, 2)
	s.Frames()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if err := x.Close(); err != nil {
		t.Error("closing twice:", err)
	}
	if f := s.Frames(); f != nil {
		t.Errorf("%d frames after Close", len(f))
	}
}
