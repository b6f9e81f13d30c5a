package reserve

import (
	"context"
	"fmt"
)

// TryAdmit claims n buffers for g if all of them can be had now and nobody
// waits for any (I14), and reports whether it did. A claim that is too large is
// never had: Admit says so. It never blocks and never allocates.
func (r *Reserve) TryAdmit(g *Grant, n int) bool {
	r.begin(g, n)
	defer r.unlock()
	if err := r.refuse(g, n); err != nil {
		return false
	}
	if r.waiting.n > 0 || !r.take(g, n) {
		r.stats.busy++
		return false
	}
	return true
}

// Admit claims n buffers for g, all at once (I2). When they cannot be had it
// waits, first come, first served, until releases make room. It returns
// ErrTooLarge at once for a claim that could never be served, ctx's error when
// that ends first, and ErrClosed; g then holds nothing.
func (r *Reserve) Admit(ctx context.Context, g *Grant, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	admitted, err := r.claim(g, n, nil)
	if admitted || err != nil {
		return err
	}
	select {
	case <-g.ready:
		return g.err
	case <-ctx.Done():
	}
	// Whoever grants does it under the lock: after Cancel the grant is either
	// out of the queue, or was granted before and is given back here, so that
	// the wake-up is not lost but goes to the next in line.
	if r.Cancel(g) {
		return ctx.Err()
	}
	<-g.ready
	if g.err == nil {
		g.Release()
	}
	return ctx.Err()
}

// AdmitFunc claims like Admit but never blocks. It returns true when g is held
// already. Otherwise f is called once, later, when g is held (with nil) or the
// reserve closed (with ErrClosed), unless Cancel came first. f runs on the
// goroutine that made room, without a lock, and must not block: others wait
// behind it. It may call anything in this package.
func (r *Reserve) AdmitFunc(g *Grant, n int, f func(g *Grant, err error)) (bool, error) {
	if f == nil {
		panic("reserve: AdmitFunc without a function")
	}
	return r.claim(g, n, f)
}

// Cancel takes a waiting grant out of the queue and reports whether it did. If
// not, g has been granted: it is held, or its function is about to be called.
func (r *Reserve) Cancel(g *Grant) bool {
	r.mu.Lock()
	defer r.unlock()
	if g.phase != queued {
		return false
	}
	r.waiting.remove(g)
	g.phase, g.f = idle, nil
	r.stats.cancelled++
	r.serve() // what stood behind g may fit where g did not
	return true
}

// claim admits g or puts it at the end of the queue.
func (r *Reserve) claim(g *Grant, n int, f func(*Grant, error)) (bool, error) {
	r.begin(g, n)
	defer r.unlock()
	if err := r.refuse(g, n); err != nil {
		return false, err
	}
	if r.waiting.n == 0 && r.take(g, n) {
		return true, nil
	}
	g.phase, g.n, g.f, g.err = queued, n, f, nil
	r.waiting.push(g)
	r.stats.waited++
	r.stats.queueMax = max(r.stats.queueMax, r.waiting.n)
	return false, nil
}

// begin locks, after a look at whether normal memory has to be grown here, and
// checks what only a mistake in the caller can break.
func (r *Reserve) begin(g *Grant, n int) {
	if g.r != r {
		panic("reserve: grant of another reserve")
	}
	if n < 1 {
		panic(fmt.Sprintf("reserve: claim of %d buffers", n))
	}
	r.prepare(n)
	r.mu.Lock()
	if g.phase != idle {
		r.mu.Unlock()
		panic(fmt.Sprintf("reserve: grant %d is admitted while it is held or waits: claim it all at once", g.number))
	}
}

func (r *Reserve) refuse(g *Grant, n int) error {
	if r.closed {
		return ErrClosed
	}
	if n > g.max || n > r.claimable() {
		r.stats.refused++
		return ErrTooLarge
	}
	return nil
}

// serve admits from the head of the queue, and stops at the first claim that
// does not fit: nobody overtakes.
func (r *Reserve) serve() {
	for g := r.waiting.first; g != nil && r.take(g, g.n); g = r.waiting.first {
		r.waiting.remove(g)
		r.finish(g, nil)
	}
}

// finish wakes a waiter: it is its named waker (I14).
func (r *Reserve) finish(g *Grant, err error) {
	g.err = err
	if err != nil {
		g.phase = idle
	}
	if g.f != nil {
		r.notify.push(g)
		return
	}
	select {
	case g.ready <- struct{}{}:
	default:
		panic(fmt.Sprintf("reserve: grant %d was woken twice", g.number))
	}
}

// callWaiters calls the functions of admitted grants one after the other, not
// one inside the other: a function may release, and so admit the next.
func (r *Reserve) callWaiters() {
	for {
		r.mu.Lock()
		g := r.notify.pop()
		if g == nil {
			r.calling = false
			r.mu.Unlock()
			return
		}
		f, err := g.f, g.err
		g.f = nil
		r.mu.Unlock()
		f(g, err)
	}
}

// take moves n buffers into g, or none. Normal memory first; the reserve when
// that fails.
func (r *Reserve) take(g *Grant, n int) bool {
	failed := r.normalFails()
	switch {
	case !failed && r.freeNormal()-r.withheld() >= n:
		for range n {
			g.buffers = append(g.buffers, r.takeNormal(granted))
		}
		r.stats.normalAllocations += uint64(n)
	case !failed && r.mayUseReserve(n) && r.freeNormal()+r.freeReserve.n >= n,
		failed && r.freeReserve.n >= n,
		r.granted == 0: // see doc.go: then it fits, and nobody else would make room
		r.takeMixed(g, n, failed)
	default:
		return false
	}
	r.granted += n
	g.phase = held
	r.stats.admitted++
	return true
}

// takeMixed uses up one origin before the other.
func (r *Reserve) takeMixed(g *Grant, n int, reserveFirst bool) {
	whole := r.freeReserve.n
	for range n {
		var b *Buffer
		if reserveFirst && r.freeReserve.n > 0 {
			b = r.takeReserve(granted)
		} else {
			b = r.takeAny(granted)
		}
		if b.origin == FromNormal {
			r.stats.normalAllocations++
		}
		g.buffers = append(g.buffers, b)
	}
	if r.freeReserve.n < whole {
		r.stats.fromReserve++
	}
}

// withheld is free normal memory that claims leave to the stocks: after a
// crunch they get back to their size even if claims never cease.
func (r *Reserve) withheld() int {
	if r.regime.now == Crunch {
		return 0
	}
	return r.missing()
}

// mayUseReserve: in crunch, and for a claim that the budget is too small for.
// Otherwise normal memory is merely busy, or growing, and the claim waits: the
// reserve is for when it fails.
func (r *Reserve) mayUseReserve(n int) bool {
	return r.regime.now == Crunch || n > r.slabs.budget-r.want
}
