package engine

import "aoe/frame"

// A disk with a write cache may forget what it has acknowledged until it is
// flushed: its machine loses power, and comes back. A flush sent after that
// succeeds, though it has nothing to make durable any more (H17).
//
// A disk that says so in IDENTIFY shows in each answer to a write that it may
// forget, and to each flush, where it has what it may forget: a
// [frame.Verifier]. If a flush is answered with the same as all writes that were
// acknowledged before it was submitted, and not covered by a flush before, it was
// carried out where they were, and they are durable. If not, it fails: they may be
// gone.
//
// No question has to be asked for that, so that nothing is needed for it while
// there is no memory, and there is no moment at which a change goes unnoticed:
// each answer says where that was done which it answers. It does not matter over
// which path it comes, how often the frame was sent, or which target it was.
//
// As with fsync(2) on Linux, every flush that was submitted before somebody was
// told is told, and none after: what is acknowledged later is another matter.
// Flushes that fail for other reasons settle nothing.
type unsynced struct {
	told bool // the disk in use shows verifiers

	acked   uint64         // how many changes were acknowledged that may be forgotten
	settled uint64         // so many of them, from the first, are durable, or were reported
	under   frame.Verifier // of the latest
	torn    uint64         // so many, from the first, were not all acknowledged under that

	// flushed is what the latest flush that had something to cover, and did, has
	// made durable: of so many, from the first, those under this.
	flushed struct {
		upTo  uint64
		under frame.Verifier
	}
}

// A cached is what is known of a change or a flush in this respect.
type cached struct {
	// shown is in the answers to it so far; of a change whose frames were
	// answered with different ones, some may be gone already: torn.
	shown frame.Verifier
	torn  bool

	// What a flush has to cover, as of when it was submitted: so many changes,
	// from the first, and if needed, those that no flush before it covered
	// were acknowledged under this.
	upTo   uint64
	needed bool
	under  frame.Verifier
}

// begin takes down what flush r has to cover.
func (u *unsynced) begin(r *Request) {
	c := &r.cached
	c.upTo, c.under = u.acked, u.under
	c.needed, c.torn = u.acked > u.settled, u.torn > u.settled
}

// show takes in the argument of an answer to a frame, or to a part, of r that says
// that all is well.
func (u *unsynced) show(r *Request, arg []byte) {
	a, _, err := frame.ParseATA(arg)
	v := a.Verifier()
	if err != nil || !u.told || v == 0 {
		return // it is on stable storage, or nobody knows
	}
	c := &r.cached
	c.torn = c.torn || r.Kind.modifies() && c.shown != 0 && c.shown != v
	c.shown = v
}

// settle is the outcome of r, every frame of which was answered well.
func (e *Engine) settle(r *Request) Outcome {
	switch {
	case r.Kind.modifies() && r.cached.shown != 0:
		e.unsynced.acknowledged(&r.cached)
	case r.Kind == Flush && !e.unsynced.covered(&r.cached):
		e.counters.Forgotten++
		return Outcome{Result: Forgotten}
	}
	return Outcome{}
}

// Untold takes back that a flush has told that something may be missing: nobody was
// left to hear it. The next tells it again.
func (e *Engine) Untold() {
	u := &e.unsynced
	u.acked++
	u.torn = u.acked
}

// acknowledged counts a change.
func (u *unsynced) acknowledged(c *cached) {
	if u.under != c.shown {
		u.torn = u.acked
	}
	u.acked++
	u.under = c.shown
	if c.torn {
		u.torn = u.acked
	}
}

// covered takes in a flush that was answered well, and reports whether all that it
// had to cover is durable.
func (u *unsynced) covered(c *cached) bool {
	u.settled = max(u.settled, c.upTo)
	switch {
	case !c.needed:
		return true
	case c.torn:
		return false
	case c.under == c.shown:
		u.flushed.upTo, u.flushed.under = c.upTo, c.shown
		return true
	}
	// Another flush may have covered it, when it was still there.
	return c.under == u.flushed.under && c.upTo <= u.flushed.upTo
}
