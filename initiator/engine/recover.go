package engine

import "time"

// An order is the order in which a path answers frames of one class, of which
// it is known how far it differs from the order in which they were sent: the
// network hardly changes it, but the target's disk does. Reads and writes are
// told apart, because one overtakes the other at many a target.
type order struct {
	reached time.Duration // when the latest frame that was answered was sent
	extent  time.Duration // most by which an answered frame was older than that
	before  time.Duration // the same of the epoch before
	answers int           // in this epoch
}

// epoch is how many answers the extent of reordering is remembered for, and
// once more: one answer that took very long must not keep losses from being
// noticed for ever.
const epoch = 1024

// onAnswer takes in the answer to a frame sent at that time.
func (o *order) onAnswer(at time.Duration) {
	if at >= o.reached {
		o.reached = at
	} else {
		o.extent = max(o.extent, o.reached-at)
	}
	if o.answers++; o.answers >= epoch {
		o.before, o.extent, o.answers = o.extent, 0, 0
	}
}

// tolerance is by how much a frame may be older than one that was answered
// without being taken for lost: a quarter more than was seen of late, and a
// quarter of a round trip at least (RFC 8985, section 6.2: the reordering
// window, there in the receiver's clock and bounded by one round trip; here a
// disk is what reorders, and knows no bound).
func (o *order) tolerance(srtt time.Duration) time.Duration {
	seen := max(o.extent, o.before)
	return max(seen+seen/4, srtt/4)
}

// fastTries is how often a frame is sent again without its timer having run
// out. A frame that the target is slow to answer, or cannot answer at all, is
// left to the timer, which backs off (H6).
const fastTries = 2

// loseOvertaken takes frames of class c for lost when frames were answered that
// were sent so much later that this cannot be the order of the answers. Frames
// in flight are in order of sending, so that it costs nothing to find none.
func (e *Engine) loseOvertaken(now time.Duration, p *path, c class) {
	if c == classFlush || c == classNetwork {
		return // one at a time, or nearly: nothing is in order with it
	}
	limit := p.order[c].reached - p.order[c].tolerance(p.rtt[c].srtt)
	for i := p.flight[c].head; i != 0; {
		s := &e.table.slots[i]
		if s.lastSent() >= limit {
			return
		}
		next := s.next
		if s.fast < fastTries {
			s.fast++
			e.counters.Fast++
			e.lose(now, i, false)
		}
		i = next
	}
}

// lose moves slot i from the frames in flight to those to be sent again. silent
// tells that nothing at all was heard since it was sent.
func (e *Engine) lose(now time.Duration, i int32, silent bool) {
	s := &e.table.slots[i]
	e.takeBack(i)
	if s.sectors > 1 && !silent {
		e.onLongLost(now, &e.paths[s.path])
	}
	if s.class == classFlush || s.backoff >= stubborn {
		return // slow, rather than lost: says nothing of the network
	}
	if silent && e.otherPath(&e.paths[s.path]) {
		return // says something of a path, which the others need not suffer for
	}
	e.window.onLoss(now, s.lastSent(), silent)
}

// takeBack moves slot i from the frames in flight to those to be sent again.
func (e *Engine) takeBack(i int32) {
	e.land(i)
	s := &e.table.slots[i]
	s.state = slotLost
	e.table.push(&e.lost, i)
	e.paths[s.path].lost++
}

// fly puts slot i among the frames in flight, in its place by the time
// at which it was sent: nearly always at the end.
func (e *Engine) fly(i int32) {
	s := &e.table.slots[i]
	p := &e.paths[s.path]
	l := &p.flight[s.class]
	after, at := l.tail, s.lastSent()
	for after != 0 && e.table.slots[after].lastSent() > at {
		after = e.table.slots[after].prev
	}
	e.table.insertAfter(l, after, i)
	p.inFlight++
	e.inFlight++
	s.state = slotFlight
}
