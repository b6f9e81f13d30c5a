package linktest

import (
	"slices"
	"time"

	"aoe/frame/link"
)

func (e ends) timeoutZero() {
	start := time.Now()
	const calls = 100
	for range calls {
		if n, err := e.a.Recv(buffers(1, 100), 0); n != 0 || err != nil {
			e.Fatalf("Recv = %d, %v", n, err)
		}
	}
	if d := time.Since(start); d > e.patience/2 {
		e.Errorf("%d calls that do not wait took %v", calls, d)
	}
}

// timeoutNegative: Recv waits for as long as it takes.
func (e ends) timeoutNegative() {
	got := e.waiting(e.b, -1)
	e.send(e.a, e.frameToB(60, 1))
	if n := e.result(got); n != 1 {
		e.Errorf("Recv = %d, want the frame", n)
	}
}

// timeoutShort: retransmission timers are shorter than a millisecond. A wait is
// never shorter than asked; how much longer depends on the machine, so only the
// best of many is held to a bound.
func (e ends) timeoutShort() {
	for _, timeout := range []time.Duration{50 * time.Microsecond, 300 * time.Microsecond, 1500 * time.Microsecond} {
		var took []time.Duration
		for range 20 {
			start := time.Now()
			n, err := e.a.Recv(buffers(1, 100), timeout)
			took = append(took, time.Since(start))
			if n != 0 || err != nil {
				e.Fatalf("Recv = %d, %v", n, err)
			}
		}
		slices.Sort(took)
		if took[0] < timeout {
			e.Errorf("timeout %v: Recv returned after %v", timeout, took[0])
		}
		if took[0] > timeout+5*time.Millisecond {
			e.Errorf("timeout %v: Recv never took less than %v", timeout, took[0])
		}
		e.Logf("timeout %v: best %v, median %v", timeout, took[0], took[len(took)/2])
	}
}

// waiting starts a Recv on l and returns where its result will be.
func (e ends) waiting(l link.Link, timeout time.Duration) <-chan int {
	done := make(chan int, 1)
	go func() {
		n, err := l.Recv(buffers(1, 2000), timeout)
		if err != nil {
			e.Errorf("Recv: %v", err)
		}
		done <- n
	}()
	return done
}

func (e ends) result(done <-chan int) int {
	e.Helper()
	select {
	case n := <-done:
		return n
	case <-time.After(e.patience):
		e.Fatal("Recv is still waiting")
		panic("unreachable")
	}
}

func (e ends) wakeBefore() {
	e.a.Wake()
	if n := e.result(e.waiting(e.a, -1)); n != 0 {
		e.Errorf("Recv = %d", n)
	}
}

// wakeDuring: it does not matter whether Recv has begun to wait.
func (e ends) wakeDuring() {
	for i := range 200 {
		done := e.waiting(e.a, -1)
		for range i % 50 {
			e.a.State() // a little time, so that Wake comes earlier or later
		}
		e.a.Wake()
		if n := e.result(done); n != 0 {
			e.Errorf("Recv = %d", n)
		}
	}
}

func (e ends) wakesCoalesce() {
	for range 10 {
		e.a.Wake()
	}
	if n := e.result(e.waiting(e.a, -1)); n != 0 {
		e.Errorf("Recv = %d", n)
	}
	const timeout = 20 * time.Millisecond
	start := time.Now()
	if n, err := e.a.Recv(buffers(1, 100), timeout); n != 0 || err != nil {
		e.Errorf("Recv = %d, %v", n, err)
	}
	if d := time.Since(start); d < timeout {
		e.Errorf("after ten calls of Wake, two of Recv returned early, the second after %v", d)
	}
}

// stateChanges: Recv notices when the interface goes down, comes back or gets
// another MTU, and frames flow afterwards (H19).
func (e ends) stateChanges(c Conformance) {
	if c.Flap != nil {
		e.change("down", func() { c.Flap(e.T, false) }, func(s link.State) bool { return !s.Up })
		f := e.frameToB(60, 1)
		for range 3 { // the first reports what happened meanwhile, the next what is
			if n, err := e.a.Send([][]byte{f, f}); n != 0 || err != nil {
				e.Errorf("Send on an interface that is down = %d, %v; want all lost", n, err)
			}
		}
		if s := e.a.Stats(); s.SendDropped != 6 || s.Flaps != 1 {
			e.Errorf("stats %+v: want 6 frames dropped and 1 flap", s)
		}
		e.change("up", func() { c.Flap(e.T, true) }, func(s link.State) bool { return s.Up })
		e.flows(100)
	}
	if c.Shrink != nil {
		for _, mtu := range []int{1400, 4000, 1500} {
			e.change("MTU", func() { c.Shrink(e.T, mtu) }, func(s link.State) bool { return s.MTU == mtu })
			e.flows(100)
		}
	}
}

// change makes one, and waits until the first end reports it.
func (e ends) change(what string, do func(), done func(link.State) bool) {
	e.Helper()
	before := e.a.State().Generation
	do()
	for end := time.Now().Add(e.patience); !done(e.a.State()); {
		left := time.Until(end)
		if left <= 0 {
			e.Fatalf("%s: the state is %+v", what, e.a.State())
		}
		if _, err := e.a.Recv(buffers(1, 10000), left); err != nil {
			e.Fatalf("%s: Recv: %v", what, err)
		}
	}
	if e.a.State().Generation == before {
		e.Errorf("%s: the generation is still %d", what, before)
	}
}

// flows waits until frames of n bytes arrive in both directions: a carrier
// comes back some time after the interface.
func (e ends) flows(n int) {
	e.Helper()
	for _, dir := range [][2]link.Link{{e.a, e.b}, {e.b, e.a}} {
		from, to := dir[0], dir[1]
		f := makeFrame(to.State().MAC, from.State().MAC, n, 7)
		arrived := false
		for end := time.Now().Add(e.patience); !arrived && time.Now().Before(end); {
			if _, err := from.Send([][]byte{f}); err != nil {
				e.Fatalf("Send: %v", err)
			}
			got, err := to.Recv(buffers(1, 10000), 5*time.Millisecond)
			if err != nil {
				e.Fatalf("Recv: %v", err)
			}
			arrived = got > 0
		}
		if !arrived {
			e.Fatalf("no frame arrives at %s any more; stats %+v", to.State().Name, to.Stats())
		}
	}
	e.drain()
}

// drain throws away what is still to be received.
func (e ends) drain() {
	for _, l := range []link.Link{e.a, e.b} {
		for n := 1; n > 0; {
			n, _ = l.Recv(buffers(8, 10000), 10*time.Millisecond)
		}
	}
}
