package reserve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// The rules of the design, one test each. TestMutations breaks every one of
// them in the source and sees to it that its test notices. I9, I11 and I12 are
// kept by the packages that send and that dirty pages.

// I1: free + probe + granted + held by the kernel = total, at every step.
func TestI1Conservation(t *testing.T) {
	x := newRig(t, 16, 32)
	a, b := x.NewGrant(6), x.NewGrant(6)
	s := x.NewStock(8, 4)
	step := func(what string, free, stocked, granted int) {
		t.Helper()
		st := x.Stats()
		if st.Free != free || st.Stocked != stocked || st.Granted != granted || st.Total != st.Reserve+st.Normal {
			t.Errorf("%s: %d free, %d stocked, %d granted, want %d, %d, %d", what, st.Free, st.Stocked, st.Granted, free, stocked, granted)
		}
		if st.Free+st.Stocked+st.Granted+st.Kernel != st.Total {
			t.Errorf("%s: not conserved: %+v", what, st)
		}
		x.audit(t)
	}
	step("start", 16, 8, 0) // 8 of normal memory were mapped, as many as the stock wants
	x.admit(a, 6)
	step("admitted", 18, 8, 6) // and 8 more for the claim
	x.fail = true
	x.admit(b, 6)
	step("admitted from the reserve", 12, 8, 12)
	turn(s, 2)
	step("shrunk", 16, 4, 12)
	s.Exchange(0, b, 0)
	s.Drop(1)
	step("exchanged", 16, 4, 12)
	s.Frames()
	step("turned", 16, 4, 12)
	a.Release()
	b.Release()
	step("released", 28, 4, 0)
	x.SetPressure(true)
	step("returned", 12, 4, 0)
}

// I1: the check at every step notices when a buffer is lost or made up.
func TestI1CheckNotices(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(x *rig)
		want  string
	}{
		{"a buffer lost", func(x *rig) { x.freeReserve.pop() }, "conservation broken"},
		{"a buffer made up", func(x *rig) { x.freeReserve.n++ }, "conservation broken"},
		{"a grant forgotten", func(x *rig) { x.granted-- }, "conservation broken"},
		{"stocks below their guarantee", func(x *rig) { x.guaranteed = 9 }, "stock broken"},
		{"stocks beyond their backing", func(x *rig) { x.guaranteed = 0; x.slabs.mapped--; x.slabs.free-- }, "normal memory backs only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newRig(t, 16, 8)
			x.NewStock(8, 4)
			x.mu.Lock()
			c.spoil(x)
			panics(t, c.want, x.unlock)
			x.closed = true // nothing more can be expected of it
		})
	}
}

// I2: the sum of claims never exceeds the capacity.
func TestI2SumOfClaims(t *testing.T) {
	x := newRig(t, 10, 0)
	x.NewStock(4, 4)
	grants := x.grants(4, 3)
	x.admit(grants[0], 3)
	x.admit(grants[1], 3)
	for _, n := range []int{1, 2, 3} {
		if x.TryAdmit(grants[2], n) {
			t.Errorf("6 of 6 claimed, and %d more were admitted", n)
		}
	}
	grants[0].Release()
	x.admit(grants[2], 2)
	if x.TryAdmit(grants[3], 2) {
		t.Error("5 of 6 claimed, and 2 more were admitted")
	}
	x.admit(grants[3], 1)
	releaseAll(grants)
}

// I3: who holds a grant may not wait for another.
func TestI3NoHoldAndWait(t *testing.T) {
	x := newRig(t, 8, 0)
	g, h := x.NewGrant(8), x.NewGrant(8)
	x.admit(g, 4)
	panics(t, "claim it all at once", func() { x.TryAdmit(g, 1) })
	panics(t, "claim it all at once", func() { _ = x.Admit(t.Context(), g, 1) })
	nop := func(*Grant, error) {}
	if ok, err := x.AdmitFunc(h, 8, nop); ok || err != nil {
		t.Fatal(ok, err)
	}
	panics(t, "claim it all at once", func() { _, _ = x.AdmitFunc(h, 1, nop) })
	g.Release()
	h.Release()
}

// I3: the bound of the design. Claims of m taken all at once need m buffers,
// whatever their number; taken one by one N of them need N(m-1)+1. Every order
// of admissions and releases is tried on the real reserve.
func TestI3AllAtOnceNeedsOnlyM(t *testing.T) {
	for _, c := range []struct{ claims, m int }{{2, 2}, {3, 2}, {4, 2}, {2, 3}, {3, 3}, {4, 3}} {
		t.Run(fmt.Sprintf("%d claims of %d", c.claims, c.m), func(t *testing.T) {
			x := newRig(t, c.m, 0)
			grants := x.grants(c.claims, c.m)
			states := map[string]bool{}
			var explore func()
			explore = func() {
				key := phases(grants)
				if states[key] {
					return
				}
				states[key] = true
				moves := 0
				for _, g := range grants {
					switch g.phase {
					case idle:
						if x.TryAdmit(g, c.m) {
							moves++
							explore()
							g.Release()
						}
					case held: // released by whoever admitted it, above
						moves++
					}
				}
				if moves == 0 {
					t.Errorf("dead: %s", key)
				}
			}
			explore()
			if len(states) != c.claims+1 {
				t.Errorf("%d states, want %d: nobody, or one of them", len(states), c.claims+1)
			}
		})
	}
}

func phases(grants []*Grant) string {
	s := ""
	for _, g := range grants {
		s += fmt.Sprint(g.phase)
	}
	return s
}

// I4: within its claim nothing can fail: all the buffers are there, whatever
// happens to normal memory once they are granted.
func TestI4ClaimIsComplete(t *testing.T) {
	x := newRig(t, 12, 24)
	g := x.NewGrant(8)
	s := x.NewStock(8, 4)
	x.admit(g, 8)
	x.fail = true
	x.SetPressure(true)
	turn(s, 4)
	for i := range 4 {
		s.Exchange(i, g, i)
	}
	s.Frames() // shrinks, and slabs are returned
	seen := map[*byte]bool{}
	for i, b := range g.Buffers() {
		if len(b.Data) != testBuffer || seen[&b.Data[0]] {
			t.Fatalf("buffer %d of the claim: %d bytes, seen %v", i, len(b.Data), seen[&b.Data[0]])
		}
		seen[&b.Data[0]] = true
		for j := range b.Data {
			b.Data[j] = byte(i)
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d buffers, want exactly 8", len(seen))
	}
	g.Release()
}

// I5: a matched reply is kept by exchange, so the stock never shrinks.
func TestI5ExchangeKeepsStock(t *testing.T) {
	x := newRig(t, 12, 0)
	g := x.NewGrant(8)
	s := x.NewStock(4, 4)
	x.admit(g, 8)
	for round := range 2 {
		frames := turn(s, 4)
		for i := range 4 {
			frames[i][0] = byte(10*round + i)
			before := g.Buffers()[4*round+i]
			s.Exchange(i, g, 4*round+i)
			after := g.Buffers()[4*round+i]
			if before == after || &after.Data[0] != &frames[i][0] || len(after.Data) != testBuffer {
				t.Fatalf("round %d: the frame of slot %d is not in the grant", round, i)
			}
		}
	}
	fresh := s.Frames()
	if len(fresh) != 4 {
		t.Fatalf("the stock has %d slots after 8 exchanges, want 4", len(fresh))
	}
	for i, b := range g.Buffers() {
		if int(b.Data[0]) != i/4*10+i%4 {
			t.Errorf("reply %d was overwritten: %d", i, b.Data[0])
		}
		for j, f := range fresh {
			if len(f) != testBuffer || &f[0] == &b.Data[0] {
				t.Errorf("slot %d is lent to the link and granted at the same time, or short: %d bytes", j, len(f))
			}
		}
	}
	g.Release()
}

// I5: a frame that is not classified lives for one dispatch turn.
func TestI5OneTurn(t *testing.T) {
	x := newRig(t, 12, 0)
	g := x.NewGrant(4)
	other := newRig(t, 12, 0).NewGrant(4)
	s := x.NewStock(4, 4)
	x.admit(g, 4)

	turn(s, 2)
	s.Drop(1)
	panics(t, "slot 0 was neither exchanged nor dropped", func() { s.Frames() })
	s.Drop(0)
	panics(t, "classified twice", func() { s.Drop(0) })
	panics(t, "classified twice", func() { s.Exchange(1, g, 0) })
	turn(s, 1)
	panics(t, "slot 0 was neither exchanged nor dropped", func() { s.Frames() })
	panics(t, "holds nothing here", func() { s.Exchange(0, other, 0) })
	panics(t, "out of range", func() { s.Exchange(0, g, 4) })
	g.Release()
	panics(t, "holds nothing here", func() { s.Exchange(0, g, 0) })
}

// I6: any frame that is not admitted may be dropped at any instant, and nothing
// but the frame is lost.
func TestI6DropCostsNothing(t *testing.T) {
	x := newRig(t, 8, 8)
	s := x.NewStock(8, 4)
	before := x.Stats()
	for range 1000 {
		turn(s, 8)
		for i := range 8 {
			s.Drop(i)
		}
	}
	s.Frames()
	after := x.Stats()
	if after.FreedAtOnce != 8000 {
		t.Errorf("%d frames freed at once, want 8000", after.FreedAtOnce)
	}
	after.FreedAtOnce = 0
	if before != after {
		t.Errorf("dropping changed\n%+v into\n%+v", before, after)
	}
}

// I7: receiving never blocks: in a steady state a turn takes no lock, so it goes
// on while others hold it, and also while the system hangs in an mmap.
func TestI7ReceivingTakesNoLock(t *testing.T) {
	x := newRig(t, 12, 12)
	g := x.NewGrant(4)
	s := x.NewStock(4, 4)
	x.admit(g, 4)
	s.Frames()
	x.mu.Lock() // if a turn took it, this test would hang
	for range 100 {
		turn(s, 4)
		s.Exchange(0, g, 0)
		s.Exchange(1, g, 1)
		s.Drop(2)
		s.Drop(3)
	}
	s.Frames()
	x.mu.Unlock()
	g.Release()
}

// I8: free first, then return the credit; the last unit is usable.
func TestI8LastUnit(t *testing.T) {
	x := newRig(t, 4, 0)
	grants := x.grants(5, 4)
	for i := range 4 {
		x.admit(grants[i], 1)
	}
	if x.TryAdmit(grants[4], 1) {
		t.Fatal("a fifth unit of four")
	}
	var got []*Buffer
	if ok, err := x.AdmitFunc(grants[4], 1, func(g *Grant, err error) { got = append(got, g.Buffers()...) }); ok || err != nil {
		t.Fatal(ok, err)
	}
	last := grants[2].Buffers()[0]
	grants[2].Release()
	if len(got) != 1 || got[0] != last {
		t.Fatalf("the one unit that was freed did not go to the one who waited: %v", got)
	}
	releaseAll(grants)
	x.admit(grants[0], 4) // and all of it at once
	grants[0].Release()
}

// I10: sealed, the reserve makes nothing new. That it allocates nothing is in
// TestI10NoAllocation.
func TestI10Sealed(t *testing.T) {
	x := newRig(t, 8, 8)
	x.Seal()
	x.Seal() // twice is once
	panics(t, "NewGrant after Seal", func() { x.NewGrant(1) })
	panics(t, "NewStock after Seal", func() { x.NewStock(2, 1) })
}

// I13: double free panics, and says of what.
func TestI13DoubleFree(t *testing.T) {
	x := newRig(t, 8, 0)
	g, h := x.NewGrant(4), x.NewGrant(4)
	panics(t, "double release of grant 0", g.Release)
	x.admit(g, 2)
	g.Release()
	panics(t, "double release of grant 0", g.Release)

	x.admit(g, 1)
	x.admit(h, 1)
	stolen := h.buffers[0]
	h.buffers[0] = g.buffers[0] // one buffer in two grants
	g.Release()
	panics(t, fmt.Sprintf("double free of buffer %d: it is free", h.buffers[0].index), h.Release)
	h.buffers[0] = stolen
	x.mu.Unlock()
	h.Release()
}

// I14: first come, first served; a small claim does not overtake a large one.
func TestI14FirstComeFirstServed(t *testing.T) {
	x := newRig(t, 8, 0)
	grants := x.grants(7, 8)
	x.admit(grants[0], 5)
	x.admit(grants[1], 3)
	var order []int
	wait := func(i, n int) {
		ok, err := x.AdmitFunc(grants[2+i], n, func(g *Grant, err error) {
			if err != nil || len(g.Buffers()) != n {
				t.Errorf("waiter %d: %d buffers of %d, %v", i, len(g.Buffers()), n, err)
			}
			order = append(order, i)
		})
		if ok || err != nil {
			t.Fatalf("waiter %d: %v %v", i, ok, err)
		}
	}
	for i, n := range []int{6, 1, 2, 8} {
		wait(i, n)
	}
	grants[0].Release() // 5 free: the first wants 6, and the second, who wants 1, stays behind
	if len(order) != 0 {
		t.Fatalf("%v overtook", order)
	}
	extra := x.NewGrant(1)
	if x.TryAdmit(extra, 1) {
		t.Fatal("TryAdmit overtook the queue")
	}
	wait(4, 1)          // it would fit, and has to queue
	grants[1].Release() // 8 free: the first gets 6, then 1; the third does not fit into the last
	wantOrder(t, order, 0, 1)
	grants[2].Release()
	wantOrder(t, order, 0, 1, 2)
	grants[3].Release()
	grants[4].Release()
	wantOrder(t, order, 0, 1, 2, 3)
	grants[5].Release()
	wantOrder(t, order, 0, 1, 2, 3, 4)
	grants[6].Release()
	if st := x.Stats(); st.Waited != 5 || st.QueueMax != 5 || st.Queue != 0 || st.Busy != 1 {
		t.Errorf("%+v", st)
	}
}

// I14: a claim that can never fit is refused at once.
func TestI14TooLargeIsRefused(t *testing.T) {
	x := newRig(t, 8, 100)
	g := x.NewGrant(5)
	panics(t, "guarantees 1 to 8", func() { x.NewGrant(9) })
	panics(t, "leave 5", func() { x.NewStock(8, 4) }) // would leave 4 to a claim of 5
	x.NewStock(8, 3)
	if n := x.MaxClaim(); n != 5 {
		t.Errorf("largest claim %d, want 5", n)
	}
	for _, n := range []int{6, 9, 1000} {
		if err := x.Admit(t.Context(), g, n); !errors.Is(err, ErrTooLarge) {
			t.Errorf("claim of %d: %v", n, err)
		}
		if ok, err := x.AdmitFunc(g, n, func(*Grant, error) { t.Error("called") }); ok || !errors.Is(err, ErrTooLarge) {
			t.Errorf("claim of %d: %v %v", n, ok, err)
		}
		if x.TryAdmit(g, n) {
			t.Errorf("claim of %d admitted", n)
		}
	}
	panics(t, "claim of 0", func() { x.TryAdmit(g, 0) })
	panics(t, "another reserve", func() { newRig(t, 8, 0).TryAdmit(g, 1) })
	if st := x.Stats(); st.Refused != 9 || st.Queue != 0 {
		t.Errorf("%+v", st)
	}
}

// I14: Close is the named waker of whoever still waits.
func TestI14CloseWakes(t *testing.T) {
	x := newRig(t, 4, 0)
	grants := x.grants(4, 4)
	x.admit(grants[0], 4)
	done := make(chan error)
	for _, g := range grants[1:3] {
		go func() { done <- x.Admit(context.Background(), g, 1) }()
	}
	eventually(t, "two wait", func() bool { return x.Stats().Queue == 2 })
	called := 0
	if _, err := x.AdmitFunc(grants[3], 1, func(g *Grant, err error) {
		called++
		if !errors.Is(err, ErrClosed) || len(g.Buffers()) != 0 {
			t.Errorf("woken with %v and %d buffers", err, len(g.Buffers()))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err == nil {
		t.Error("closed with 4 buffers granted, and no complaint")
	}
	for range 2 {
		if err := <-done; !errors.Is(err, ErrClosed) || !errors.Is(err, os.ErrClosed) {
			t.Errorf("woken with %v", err)
		}
	}
	if called != 1 {
		t.Errorf("the function was called %d times", called)
	}
	grants[0].Buffers()[0].Data[0] = 1 // still there
	grants[0].Release()
	if err := x.Admit(t.Context(), grants[1], 1); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func wantOrder(t *testing.T, got []int, want ...int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("admitted in order %v, want %v", got, want)
	}
}

func releaseAll(grants []*Grant) {
	for _, g := range grants {
		if g.phase == held {
			g.Release()
		}
	}
}
