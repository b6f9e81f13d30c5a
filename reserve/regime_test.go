package reserve

import (
	"encoding/json"
	"testing"
)

func (x *rig) wantRegime(want Regime, toCrunch, toNormal uint64) {
	x.t.Helper()
	if st := x.Stats(); x.Regime() != want || st.Regime != want || st.ToCrunch != toCrunch || st.ToNormal != toNormal {
		x.t.Fatalf("%s after %d crunches and %d returns, want %s after %d and %d", st.Regime, st.ToCrunch, st.ToNormal, want, toCrunch, toNormal)
	}
}

// turnover admits and releases n times.
func (x *rig) turnover(g *Grant, claim, n int) {
	x.t.Helper()
	for range n {
		x.admit(g, claim)
		g.Release()
	}
}

// TestNormalThenReserve tells the story of a shortage: normal memory carries
// everything, fails, the reserve takes over, and gives it back.
func TestNormalThenReserve(t *testing.T) {
	x := newRig(t, 12, 64)
	a, b := x.NewGrant(6), x.NewGrant(6)
	s := x.NewStock(16, 6)
	x.wantRegime(Normal, 0, 0)
	if n := len(s.Frames()); n != 16 {
		t.Fatalf("%d slots in normal, want 16", n)
	}
	x.admit(a, 6)
	if n, r := origins(a); n != 6 || r != 0 {
		t.Fatalf("%d of normal memory and %d of the reserve, want 6 and 0", n, r)
	}
	if st := x.Stats(); st.FreeReserve != 12 || st.ReserveLow != 12 || st.FromReserve != 0 {
		t.Fatalf("the reserve was touched without need: %+v", st)
	}

	x.fail = true
	x.admit(b, 6)
	x.wantRegime(Crunch, 1, 0)
	if n, r := origins(b); n != 0 || r != 6 {
		t.Fatalf("%d of normal memory and %d of the reserve, want 0 and 6", n, r)
	}
	if n := len(s.Frames()); n != 6 {
		t.Fatalf("%d slots in crunch, want 6", n)
	}
	for i, sl := range s.slots {
		if sl.b.origin != FromReserve {
			t.Errorf("slot %d holds normal memory in a crunch", i)
		}
	}
	a.Release()
	b.Release()
	x.turnover(a, 6, 100)
	x.wantRegime(Crunch, 1, 0)
	if st := x.Stats(); st.ReserveLow != 0 || st.FromReserve != 101 || st.NormalFailures < 100 {
		t.Errorf("%+v", st)
	}

	x.fail = false
	x.turnover(a, 6, maxPatience)
	x.wantRegime(Normal, 1, 1)
	if n := len(s.Frames()); n != 16 {
		t.Fatalf("%d slots, want 16 again", n)
	}
	if st := x.Stats(); st.FreeReserve != 12 {
		t.Errorf("back in normal, and only %d of the reserve's 12 are free", st.FreeReserve)
	}
}

// TestMixedClaim: what normal memory still has is used before the reserve.
func TestMixedClaim(t *testing.T) {
	x := newRig(t, 8, 4) // slabs of one buffer
	a, b := x.NewGrant(3), x.NewGrant(8)
	x.admit(a, 3)
	x.mem.fail = errNoMemory
	x.admit(b, 8) // larger than the budget: mixed without a crunch
	if n, r := origins(b); n != 0 || r != 8 {
		t.Errorf("%d of normal memory and %d of the reserve, want 0 and 8: one slab could not be mapped", n, r)
	}
	x.wantRegime(Crunch, 1, 0)
	a.Release()
	b.Release()
	x.admit(b, 8)
	if n, r := origins(b); n != 3 || r != 5 {
		t.Errorf("%d of normal memory and %d of the reserve, want 3 and 5", n, r)
	}
	b.Release()
}

// TestBudgetIsNoCrunch: a used-up budget makes claims wait, and leaves the
// reserve whole, for nothing is scarce but the operator's permission.
func TestBudgetIsNoCrunch(t *testing.T) {
	x := newRig(t, 12, 16)
	grants := x.grants(5, 4)
	x.NewStock(4, 2)
	for _, g := range grants[:3] {
		x.admit(g, 4)
	}
	if x.TryAdmit(grants[3], 4) {
		t.Error("admitted beyond the budget")
	}
	admitted := 0
	for _, g := range grants[3:] {
		if _, err := x.AdmitFunc(g, 4, func(*Grant, error) { admitted++ }); err != nil {
			t.Fatal(err)
		}
	}
	grants[0].Release()
	grants[1].Release()
	if admitted != 2 {
		t.Errorf("%d of 2 admitted by two releases", admitted)
	}
	x.wantRegime(Normal, 0, 0)
	if st := x.Stats(); st.ReserveLow != 12 || st.NormalFailures != 0 {
		t.Errorf("%+v", st)
	}
	releaseAll(grants)
}

// TestNoNormalMemory: with a budget of nothing the reserve serves, and as many
// claims at once as fit; that is the plan and not a shortage.
func TestNoNormalMemory(t *testing.T) {
	x := newRig(t, 12, 0)
	grants := x.grants(3, 4)
	s := x.NewStock(8, 4)
	x.admit(grants[0], 4)
	x.admit(grants[1], 4)
	if x.TryAdmit(grants[2], 1) {
		t.Error("admitted what is guaranteed to the stock")
	}
	if n := len(s.Frames()); n != 4 {
		t.Errorf("%d slots", n)
	}
	releaseAll(grants)
	x.turnover(grants[0], 4, 1000)
	x.SetPressure(true)
	x.SetPressure(false)
	x.wantRegime(Normal, 1, 1)
}

// TestPressureReturnsSlabs: under pressure, slabs go back as they fall idle,
// those in use stay, and the guarantee holds all the while.
func TestPressureReturnsSlabs(t *testing.T) {
	x := newRig(t, 8, 32) // slabs of 8
	a, b, c := x.NewGrant(4), x.NewGrant(4), x.NewGrant(4)
	s := x.NewStock(12, 4)
	x.admit(a, 4)
	x.admit(b, 4)
	x.admit(c, 4)
	if st := x.Stats(); st.Normal != 24 || x.mem.live() != 4 {
		t.Fatalf("%d buffers of normal memory in %d mappings, want 24 in 3 and the reserve", st.Normal, x.mem.live())
	}
	x.SetPressure(true)
	x.wantRegime(Crunch, 1, 0)
	if st := x.Stats(); st.Normal != 24 || st.SlabsReturned != 0 {
		t.Fatalf("a slab in use was returned: %+v", st)
	}
	c.Release()
	x.admit(c, 4) // from the reserve: what is left of normal memory is left alone
	if n, r := origins(c); n != 0 || r != 4 {
		t.Errorf("%d of normal memory and %d of the reserve under pressure, want 0 and 4", n, r)
	}
	a.Release()
	b.Release()
	x.audit(t)
	if st := x.Stats(); st.Normal != 16 || st.SlabsReturned != 1 {
		t.Errorf("%d buffers of normal memory, want the 16 that the stock is in", st.Normal)
	}
	s.Frames()
	c.Release()
	if st := x.Stats(); st.Normal != 0 || x.mem.live() != 1 {
		t.Errorf("%d buffers of normal memory in %d mappings after the stock shrank, want only the reserve", st.Normal, x.mem.live())
	}
	x.turnover(a, 4, maxPatience)
	x.wantRegime(Crunch, 1, 0) // pressure does not end by waiting
	x.SetPressure(false)
	x.wantRegime(Normal, 1, 1)
	if n := len(s.Frames()); n != 12 {
		t.Errorf("%d slots after the pressure, want 12", n)
	}
}

// TestUsedSlabStays: an idle slab is returned, and the one behind it, of which
// only a part is used, is not.
func TestUsedSlabStays(t *testing.T) {
	x := newRig(t, 8, 32) // slabs of 8
	a, b := x.NewGrant(8), x.NewGrant(4)
	x.admit(a, 8)
	x.admit(b, 4)
	x.SetPressure(true)
	a.Release()
	if st := x.Stats(); st.Normal != 8 || st.SlabsReturned != 1 || st.FreeNormal != 4 {
		t.Errorf("%+v", st)
	}
	for _, buffer := range b.Buffers() {
		buffer.Data[0] = 1 // still there
	}
	b.Release()
	if st := x.Stats(); st.Normal != 0 || st.SlabsReturned != 2 {
		t.Errorf("%+v", st)
	}
}

// TestUnmapFailure: the system may refuse to take memory back; it is then used
// again, and nothing is mapped twice.
func TestUnmapFailure(t *testing.T) {
	x := newRig(t, 8, 8)
	g := x.NewGrant(8)
	x.admit(g, 8)
	g.Release()
	x.mem.failBack = errNoMemory
	x.SetPressure(true)
	if st := x.Stats(); st.UnmapFailures != 4 || st.Normal != 0 || x.mem.live() != 5 {
		t.Fatalf("%d mappings, %+v", x.mem.live(), st)
	}
	x.mem.failBack = nil
	x.SetPressure(false)
	x.admit(g, 8)
	if n, _ := origins(g); n != 8 || x.mem.live() != 5 {
		t.Errorf("%d of normal memory, %d mappings", n, x.mem.live())
	}
	g.Release()
}

// TestHysteresis: a failure every now and then does not make the regime flap:
// each crunch that ended too early makes the next one longer.
func TestHysteresis(t *testing.T) {
	x := newRig(t, 8, 32)
	g := x.NewGrant(4)
	x.turnover(g, 4, 1)
	const releases = 20_000
	for i := range releases {
		x.fail = i%100 == 0 // a failure every hundred claims
		x.turnover(g, 4, 1)
	}
	st := x.Stats()
	// 32, 64, then longer than 100 releases without failure, which never come.
	if st.ToCrunch > 4 || st.ToNormal > 3 {
		t.Errorf("%d crunches in %d releases", st.ToCrunch, releases)
	}
	x.fail = false
	x.turnover(g, 4, 2*maxPatience)
	x.wantRegime(Normal, st.ToCrunch, st.ToNormal+1)

	// After a long time in normal the past is forgotten.
	x.turnover(g, 4, 2*maxPatience)
	x.fail = true
	x.turnover(g, 4, 1)
	x.fail = false
	x.turnover(g, 4, minPatience)
	x.wantRegime(Normal, st.ToCrunch+1, st.ToNormal+2)
}

// TestCrunchEndsWhenThereIsRoom: not before the stock's full size and the
// largest claim lie free, however long no failure was seen.
func TestCrunchEndsWhenThereIsRoom(t *testing.T) {
	x := newRig(t, 8, 32)
	g := x.NewGrant(4)
	x.mem.fail = errNoMemory
	x.NewStock(12, 4)
	x.wantRegime(Crunch, 1, 0)
	x.turnover(g, 4, 3*maxPatience)
	x.wantRegime(Crunch, 1, 0)
	if st := x.Stats(); st.GrowthFailures < 4 || st.GrowthFailures > 12 {
		t.Errorf("normal memory was asked for %d times in %d releases: want backing off", st.GrowthFailures, 3*maxPatience)
	}
	x.mem.fail = nil
	x.turnover(g, 4, maxPatience)
	x.wantRegime(Normal, 1, 1)
	if st := x.Stats(); st.FreeNormal < 8+8 {
		t.Errorf("normal again with %d free, want what the stock lacks and a slab", st.FreeNormal)
	}
}

// TestKeepAvailable: normal allocation fails before the system has to reclaim.
func TestKeepAvailable(t *testing.T) {
	x := &rig{t: t, mem: newFakeMemory()}
	x.open(Config{BufferSize: testBuffer, Reserve: 8, Normal: 8, KeepAvailable: 1 << 20})
	g := x.NewGrant(4)
	x.mem.avail = 1<<20 + 100
	x.admit(g, 4)
	if n, _ := origins(g); n != 0 || x.mem.live() != 1 {
		t.Errorf("%d buffers of normal memory below what must stay available", n)
	}
	x.wantRegime(Crunch, 1, 0)
	x.mem.avail = 1<<20 + 1<<16
	g.Release()
	x.turnover(g, 4, maxPatience)
	x.wantRegime(Normal, 1, 1)
}

func TestRegimeAsJSON(t *testing.T) {
	out, err := json.Marshal(struct{ A, B Regime }{Normal, Crunch})
	if string(out) != `{"A":"normal","B":"crunch"}` || err != nil {
		t.Errorf("%s %v", out, err)
	}
}
