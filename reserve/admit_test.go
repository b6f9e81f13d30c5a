package reserve

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestCancelWhileGranted is the classic race: a waiter gives up at the very
// moment in which it is granted. The wake-up must not be lost: what it was
// given goes to the next in line.
func TestCancelWhileGranted(t *testing.T) {
	x := newRig(t, 1, 0)
	holder, quitter, next := x.NewGrant(1), x.NewGrant(1), x.NewGrant(1)
	gaveUp, granted := 0, 0
	for range 500 {
		x.admit(holder, 1)
		ctx, cancel := context.WithCancel(context.Background())
		first := make(chan error, 1)
		go func() { first <- x.Admit(ctx, quitter, 1) }()
		eventually(t, "the first waits", func() bool { return x.Stats().Queue == 1 })
		second := make(chan error, 1)
		go func() { second <- x.Admit(context.Background(), next, 1) }()
		eventually(t, "the second waits", func() bool { return x.Stats().Queue == 2 })

		var both sync.WaitGroup
		both.Go(cancel)
		both.Go(holder.Release)
		both.Wait()
		if err := <-first; err == nil {
			granted++
			quitter.Release()
		} else if errors.Is(err, context.Canceled) {
			gaveUp++
		} else {
			t.Fatal(err)
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		next.Release()
	}
	t.Logf("gave up %d times, was granted %d times", gaveUp, granted)
	x.admit(holder, 1)
	holder.Release()
}

// A lateContext ends when somebody begins to wait for it, and lets the test do
// something at that moment.
type lateContext struct {
	context.Context
	done chan struct{}
	f    func()
}

func (c *lateContext) Done() <-chan struct{} {
	close(c.done)
	c.f()
	return c.done
}

func (c *lateContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// TestCancelAfterGrant is the same race where it need not be hit by chance: at
// the moment of waiting the context has ended and the claim has been granted.
// Select takes either; what is given up must then be free again.
func TestCancelAfterGrant(t *testing.T) {
	x := newRig(t, 1, 0)
	holder, g := x.NewGrant(1), x.NewGrant(1)
	gaveUp := 0
	for range 100 {
		x.admit(holder, 1)
		err := x.Admit(&lateContext{t.Context(), make(chan struct{}), holder.Release}, g, 1)
		if err == nil {
			g.Release()
		} else {
			gaveUp++
		}
		if st := x.Stats(); st.Granted != 0 || st.Queue != 0 {
			t.Fatalf("after %v: %+v", err, st)
		}
	}
	if gaveUp == 0 || gaveUp == 100 {
		t.Errorf("gave up %d of 100 times: want the race to go both ways", gaveUp)
	}
}

func TestAdmitContextHasEnded(t *testing.T) {
	x := newRig(t, 1, 0)
	g := x.NewGrant(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Admit(ctx, g, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if st := x.Stats(); st.Granted != 0 || st.Admitted != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCancelLetsOthersThrough: a large claim at the head gives up, and the small
// ones behind it fit.
func TestCancelLetsOthersThrough(t *testing.T) {
	x := newRig(t, 4, 0)
	grants := x.grants(4, 4)
	x.admit(grants[0], 2)
	var admitted []*Grant
	f := func(g *Grant, err error) { admitted = append(admitted, g) }
	for i, n := range []int{4, 1, 1} {
		if ok, err := x.AdmitFunc(grants[1+i], n, f); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if !x.Cancel(grants[1]) {
		t.Fatal("not cancelled")
	}
	if len(admitted) != 2 || x.Cancel(grants[1]) || x.Cancel(grants[2]) {
		t.Errorf("%d admitted after the head gave up, want 2", len(admitted))
	}
	if st := x.Stats(); st.Cancelled != 1 {
		t.Errorf("%+v", st)
	}
	releaseAll(grants)
}

// TestAdmitFuncDoesNotNest: functions that release, and so admit the next, run
// one after the other: the stack does not grow with the queue.
func TestAdmitFuncDoesNotNest(t *testing.T) {
	x := newRig(t, 2, 0)
	grants := x.grants(1000, 2)
	x.admit(grants[0], 2)
	depth, deepest, calls := 0, 0, 0
	f := func(g *Grant, err error) {
		calls++
		depth++
		deepest = max(deepest, depth)
		g.Release()
		depth--
	}
	for _, g := range grants[1:] {
		if ok, err := x.AdmitFunc(g, 2, f); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	grants[0].Release()
	if calls != 999 || deepest != 1 {
		t.Errorf("%d calls, %d deep, want 999 and 1", calls, deepest)
	}
	panics(t, "without a function", func() { _, _ = x.AdmitFunc(grants[0], 1, nil) })
}

// TestStress: many goroutines claim, wait, give up and release while normal
// memory fails at random, pressure comes and goes, and another receives. Run
// with -race. Every buffer is written by its owner, and read back before it is
// given away: two owners would see each other.
func TestStress(t *testing.T) {
	const workers, rounds = 16, 400
	noLeak(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := NewFaults(seed, 300)
	x := &rig{t: t, mem: newFakeMemory()}
	x.open(Config{BufferSize: 256, Reserve: 24, Normal: 96, Slab: 8 * 256, FailNormal: faults.Fail})
	grants := x.grants(workers, 8)
	s := x.NewStock(16, 8)
	x.Seal()

	var wg sync.WaitGroup
	for w, g := range grants {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds {
				stressOnce(t, x, g, rng, byte(w+1))
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1<<32))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			frames := s.Frames()
			n := rng.IntN(len(frames) + 1)
			for j := range n {
				frames[j] = frames[j][:60]
				frames[j][0] = 0xff
				s.Drop(j)
			}
			if i%50 == 0 {
				x.SetPressure(rng.IntN(3) == 0)
				faults.SetRate(rng.IntN(600))
			}
		}
	})
	wg.Wait()
	close(stop)
	others.Wait()
	x.SetPressure(false)
	st := x.Stats()
	t.Logf("%+v", st)
	if st.Granted != 0 || st.Queue != 0 || st.Admitted < workers*rounds/10 {
		t.Errorf("%+v", st)
	}
	eventually(t, "the grower rests", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return !x.working && !x.hasWork()
	})
}

// stressOnce claims in one of three ways, uses what it got, and releases.
func stressOnce(t *testing.T, x *rig, g *Grant, rng *rand.Rand, mark byte) {
	n := 1 + rng.IntN(8)
	switch rng.IntN(3) {
	case 0:
		if !x.TryAdmit(g, n) {
			return
		}
	case 1:
		ctx, cancel := context.WithCancel(context.Background())
		if rng.IntN(2) == 0 {
			go cancel()
		}
		err := x.Admit(ctx, g, n)
		cancel()
		if err != nil {
			return
		}
	case 2:
		admitted := make(chan error, 1)
		ok, err := x.AdmitFunc(g, n, func(g *Grant, err error) { admitted <- err })
		if err == nil && !ok {
			if rng.IntN(4) == 0 && x.Cancel(g) {
				return
			}
			err = <-admitted
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
	if len(g.Buffers()) != n {
		t.Errorf("%d buffers, claimed %d", len(g.Buffers()), n)
	}
	for _, b := range g.Buffers() {
		b.Data[0], b.Data[len(b.Data)-1] = mark, mark
	}
	for _, b := range g.Buffers() {
		if b.Data[0] != mark || b.Data[len(b.Data)-1] != mark {
			t.Errorf("buffer %d was written by another", b.index)
		}
	}
	g.Release()
}
