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
	for limit := e.window.limit(); n < len(out) && e.inFlight < limit; {
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
	i := e.lost.head
	if i == 0 || e.yield && e.ready.head != nil {
		e.yield = false
		if e.ready.head == nil {
			return 0, nil
		}
		p := e.pick(now, e.ready.head.Kind.class())
		if p == nil {
			return 0, nil
		}
		if fresh := e.start(e.ready.head); fresh != 0 {
			return fresh, p
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
	e.find(i)
	e.counters.Retransmitted++
	e.yield = e.table.slots[i].backoff >= stubborn
	return i, p
}

// start gives the next frame of r a slot, or returns 0. One slot is always left
// for control frames.
func (e *Engine) start(r *Request) int32 {
	if e.table.freeCount <= 1 {
		return 0
	}
	i := e.table.take()
	f := &r.Frames[r.started]
	s := &e.table.slots[i]
	s.kind, s.class, s.command = r.Kind, r.Kind.class(), commandATA
	s.req, s.index = r, int32(r.started)
	s.lba, s.sectors = f.LBA, f.Sectors
	f.slot = i
	if r.started++; r.started == len(r.Frames) {
		e.ready.remove(r)
		r.place = inFlight
	}
	return i
}

// transmit returns the frame of slot i, ready to be sent once more, over p.
func (e *Engine) transmit(now time.Duration, i int32, p *path) []byte {
	s := &e.table.slots[i]
	s.state = slotFlight // before its tag is told
	b := s.req.Frames[s.index].Transmit
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
// fits tells whether the frames of requests are within the port's MTU; those
// that are not get lost.
func (e *Engine) LinkChanged(now time.Duration, port int, local frame.MAC, up, fits bool) {
	for i := range e.paths {
		p := &e.paths[i]
		if p.port != port {
			continue
		}
		p.local = local
		e.setPathTrouble(now, p, SmallMTU, !fits)
		was := p.trouble[LinkDown].on
		e.setPathTrouble(now, p, LinkDown, !up)
		switch {
		case up && was:
			e.suspend(now, p)
			p.control.due, p.control.tries = now, 0
		case (!up || !fits) && p.usable() && e.otherPath(p):
			e.fail(now, p)
		}
	}
	e.publishPaths()
}
