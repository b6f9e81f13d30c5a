package reserve

import "testing"

// sealedRig has a stock of 4 to 8 and n grants of 4, slabs of 8 buffers, and a
// grower.
func sealedRig(t *testing.T, n int) (*rig, *Stock, []*Grant) {
	noLeak(t)
	x := &rig{t: t, mem: newFakeMemory()}
	x.open(Config{BufferSize: testBuffer, Reserve: 8, Normal: 64, Slab: 8 * roundUp(testBuffer, cacheLine)})
	grants := x.grants(n, 4)
	s := x.NewStock(8, 4)
	x.Seal()
	return x, s, grants
}

// TestGrowsAhead: once sealed, the next slab is mapped while there is still some
// of the last, and no claim has to wait for it or to touch the reserve.
func TestGrowsAhead(t *testing.T) {
	x, _, grants := sealedRig(t, 14)
	for i, g := range grants {
		eventually(t, "normal memory has grown ahead", func() bool {
			st := x.Stats()
			return st.FreeNormal >= 8 || st.Normal == st.NormalBudget
		})
		x.admit(g, 4)
		if n, r := origins(g); n != 4 || r != 0 {
			t.Errorf("claim %d has %d of normal memory and %d of the reserve", i, n, r)
		}
	}
	x.wantRegime(Normal, 0, 0)
	releaseAll(grants)
}

// hang makes the system hang in the next mapping, and returns how to end it.
func (x *rig) hang() (end func()) {
	gate := make(chan struct{})
	x.mem.set(func() { x.mem.gate = gate })
	return func() {
		x.mem.set(func() { x.mem.gate = nil })
		close(gate)
	}
}

// TestHangingSystem: mmap does not return. Claims go on with what there is, and
// after a while from the reserve; nobody ever waits in the system, and when it
// comes back, so does normal memory.
func TestHangingSystem(t *testing.T) {
	x, s, grants := sealedRig(t, 6)
	end := x.hang()
	x.admit(grants[0], 4)
	<-x.mem.entered // the grower hangs
	x.admit(grants[1], 4)
	x.wantRegime(Normal, 0, 0)

	// Normal memory is used up. Claims wait for it while others go on.
	admitted := make(chan *Grant, 100)
	claim := func(g *Grant) {
		if ok, err := x.AdmitFunc(g, 4, func(g *Grant, err error) { admitted <- g }); err != nil {
			t.Error(err)
		} else if ok {
			admitted <- g
		}
	}
	for _, g := range grants[2:] {
		claim(g)
	}
	if st := x.Stats(); st.Queue != 4 || st.FreeReserve != 8 {
		t.Fatalf("%d wait and %d of the reserve are free, want 4 and 8", st.Queue, st.FreeReserve)
	}
	grants[0].Release() // serves the first who waits
	for range minPatience - 1 {
		g := <-admitted
		g.Release()
		claim(g)
	}
	x.wantRegime(Normal, 0, 0)
	for range 2 {
		g := <-admitted
		g.Release()
		claim(g)
	}
	x.wantRegime(Crunch, 1, 0)
	if n := len(s.Frames()); n != 4 {
		t.Errorf("%d slots in crunch, want 4", n)
	}
	for range 1000 {
		g := <-admitted
		g.Release()
		claim(g)
	}
	if st := x.Stats(); st.Admitted < 1000 || st.FromReserve == 0 {
		t.Errorf("the reserve was not used while the system hung: %+v", st)
	}
	end()
	eventually(t, "normal again", func() bool {
		g := <-admitted
		g.Release()
		claim(g)
		return x.Regime() == Normal
	})
	if n := len(s.Frames()); n != 8 {
		t.Errorf("%d slots, want 8 again", n)
	}
	grants[1].Release()
	for range grants[2:] {
		(<-admitted).Release()
	}
}

// TestServedByGrowth: a claim that waits for normal memory is woken by the
// grower.
func TestServedByGrowth(t *testing.T) {
	x, _, grants := sealedRig(t, 3)
	end := x.hang()
	x.admit(grants[0], 4)
	<-x.mem.entered
	x.admit(grants[1], 4)
	done := make(chan error)
	go func() { done <- x.Admit(t.Context(), grants[2], 4) }()
	eventually(t, "it waits", func() bool { return x.Stats().Queue == 1 })
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, r := origins(grants[2]); n != 4 || r != 0 {
		t.Errorf("%d of normal memory and %d of the reserve", n, r)
	}
	releaseAll(grants)
	x.wantRegime(Normal, 0, 0)
}
