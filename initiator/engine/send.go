package engine

import (
	"time"

	"aoe/frame"
)

// Drain puts the frames to be sent now by a port into out and returns how many.
// Frames that were sent before go first. It is called for every port until it
// returns 0, the lowest port first, and what it returned is sent before anything
// else is called.
func (e *Engine) Drain(now time.Duration, port int, out [][]byte) int {
	n := copy(out, e.outbox[port])
	e.outbox[port] = e.outbox[port][:copy(e.outbox[port], e.outbox[port][n:])]
	for i := range e.paths {
		p := &e.paths[i]
		if p.port != port || n == len(out) {
			continue
		}
		if b := e.drainControl(now, p); b != nil {
			out[n] = b
			n++
		}
	}
	for limit := e.limit(); n < len(out) && e.inFlight < limit; {
		i, p := e.next(now)
		if i == 0 {
			break
		}
		b := e.transmit(now, i, p)
		if p.port == port {
			out[n] = b
			n++
		} else {
			e.outbox[p.port] = append(e.outbox[p.port], b)
		}
	}
	e.counters.Sent += uint64(n)
	return n
}

// stubborn is how often a frame has to time out to be taken for one that the
// target cannot answer, rather than one that the network lost.
const stubborn = 3

// next is the slot of the frame to be sent next, or 0, and the path for it. What
// was lost goes first, because others may wait for it; but where one frame is
// never answered, every other turn is that of a new one, so that it cannot keep
// a small window to itself.
func (e *Engine) next(now time.Duration) (int32, *path) {
	for {
		i := e.lost.head
		fresh := e.parts.waiting.head != nil || e.ready.head != nil
		if i == 0 || e.yield && fresh {
			e.yield = false
			if !fresh {
				return 0, nil
			}
			if n, p := e.start(now); n != 0 || p == nil {
				return n, p
			}
			e.counters.NoSlot++
			if i == 0 {
				return 0, nil
			}
		}
		p := e.pick(now, e.table.slots[i].class)
		if p == nil {
			return 0, nil
		}
		if s := &e.table.slots[i]; s.kind.divisible() && s.sectors > p.most() {
			e.recut(now, i)
			continue
		}
		e.find(i)
		e.counters.Retransmitted++
		e.yield = e.table.slots[i].backoff >= stubborn
		return i, p
	}
}

// start gives the next part of a frame, or else the next frame, a slot and a
// path. Without a path it returns neither, and without a slot, of which one is
// always left for control frames, the path only.
func (e *Engine) start(now time.Duration) (int32, *path) {
	f := e.parts.waiting.head
	if f == nil {
		r := e.ready.head
		f = &r.Frames[r.started]
	}
	p := e.pick(now, f.req.Kind.class())
	if p == nil || e.table.freeCount <= 1 {
		return 0, p
	}
	if f.listed {
		e.parts.waiting.remove(f)
		return e.begin(f, p), p
	}
	r := f.req
	if r.started++; r.started == len(r.Frames) {
		e.ready.remove(r)
		r.place = inFlight
	}
	return e.begin(f, p), p
}

// transmit returns the frame of slot i, ready to be sent once more, over p.
func (e *Engine) transmit(now time.Duration, i int32, p *path) []byte {
	s := &e.table.slots[i]
	s.state = slotFlight // before its tag is told
	b := e.encoded(s)
	before := &e.paths[s.path]
	e.table.stamp(now, i, b, p)
	if before != p {
		before.waiting = before.waiting && before.outstanding()
	}
	e.fly(i)
	s.deadline = now + e.timeout(p, s.class, s.backoff)
	e.arm(s.deadline)
	p.onSent(now)
	e.onSent(now)
	return b
}

// LinkChanged tells the engine what a port is now. When the port comes back, what
// was lost with it is sent again at once, after the target has shown that it is
// the same (H15); what was in flight when it goes is sent over other paths.
//
// sectors is how many a frame can carry within the port's MTU; longer frames are
// sent in parts, or over other ports.
func (e *Engine) LinkChanged(now time.Duration, port int, local frame.MAC, up bool, sectors int) {
	for i := range e.paths {
		p := &e.paths[i]
		if p.port != port {
			continue
		}
		p.local = local
		grown := uint64(sectors) > p.limits.fits
		p.limits.fits = uint64(sectors)
		e.setPathTrouble(now, p, SmallMTU, p.limits.fits < p.limits.full)
		if grown && p.limits.through < p.limits.full {
			p.control.revalidate = true // now longer ones may get through
			p.control.due = min(p.control.due, now)
		}
		was := p.trouble[LinkDown].on
		e.setPathTrouble(now, p, LinkDown, !up)
		switch {
		case up && was:
			e.suspend(now, p)
			p.control.due, p.control.tries = now, 0
		case p.usable() && (!up && e.otherPath(p) || e.better(p)):
			e.fail(now, p)
		}
		e.arm(now)
	}
	e.publishPaths()
}
