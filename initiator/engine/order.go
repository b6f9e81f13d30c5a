package engine

// order finds r its place: behind the earlier requests that it must not
// overtake (H3), behind the fence (H1), or among those ready to be sent.
//
// Whole requests are compared, not frames: there are few of them, so that
// comparing with each costs less than an index would, and a request never
// waits for a later one, so that nobody waits in a circle.
func (e *Engine) order(r *Request) {
	if r.Sectors > 0 {
		for q := e.all.head; q != r; q = q.all.next {
			if conflicts(q, r) {
				r.waits++
				q.following = true
			}
		}
	}
	if r.waits > 0 {
		r.place = blocked
		e.counters.Ordered++
		return
	}
	e.clearToSend(r)
}

// unblock lets those go on that waited for r only: every later request that
// conflicts with r was submitted while r was unfinished, and counted it.
func (e *Engine) unblock(r *Request) {
	for q := e.all.head; q != nil; q = q.all.next {
		if q.place != blocked || q.number < r.number || !conflicts(r, q) {
			continue
		}
		if q.waits--; q.waits == 0 {
			e.clearToSend(q)
		}
	}
}

// clearToSend is for requests that no earlier one stands in the way of.
func (e *Engine) clearToSend(r *Request) {
	if e.fence.up > 0 && r.Kind.modifies() && e.fencedOff(r) {
		r.place = fencedOff
		e.held.push(r)
		e.counters.Fenced++
		return
	}
	r.place = ready
	e.ready.push(r)
}
