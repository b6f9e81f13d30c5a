package engine

import (
	"time"

	"aoe/frame"
)

// Drain puts the frames to be sent now into out and returns how many. Frames
// that were sent before go first. It is called until it returns 0, and what it
// returned is sent before anything else is called.
func (e *Engine) Drain(now time.Duration, out [][]byte) int {
	n := 0
	if len(out) > 0 {
		if b := e.drainControl(now); b != nil {
			out[n] = b
			n++
		}
	}
	if e.control.suspended {
		e.counters.Sent += uint64(n)
		return n
	}
	for limit := e.window.limit(); n < len(out) && e.inFlight < limit; n++ {
		i := e.next()
		if i == 0 {
			break
		}
		out[n] = e.transmit(now, i)
	}
	e.counters.Sent += uint64(n)
	return n
}

// stubborn is how often a frame has to time out to be taken for one that the
// target cannot answer, rather than one that the network lost.
const stubborn = 3

// next is the slot of the frame to be sent next, or 0. What was lost goes first,
// because others may wait for it; but where one frame is never answered, every
// other turn is that of a new one, so that it cannot keep a small window to
// itself.
func (e *Engine) next() int32 {
	i := e.lost.head
	if i == 0 || e.yield && e.ready.head != nil {
		e.yield = false
		if e.ready.head == nil {
			return 0
		}
		if fresh := e.start(e.ready.head); fresh != 0 {
			return fresh
		}
		e.counters.NoSlot++
		if i == 0 {
			return 0
		}
	}
	e.table.remove(&e.lost, i)
	e.counters.Retransmitted++
	e.yield = e.table.slots[i].backoff >= stubborn
	return i
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

// transmit returns the frame of slot i, ready to be sent once more.
func (e *Engine) transmit(now time.Duration, i int32) []byte {
	s := &e.table.slots[i]
	s.state = slotFlight // before its tag is told
	b := s.req.Frames[s.index].Transmit
	e.table.stamp(now, i, b, e.path.remote, e.path.local)
	e.refly(i)
	s.deadline = now + e.timeout(s.class, s.backoff)
	e.arm(s.deadline)
	e.path.onSent(now)
	return b
}

// LinkChanged tells the engine what its port is now. When the port comes back,
// what was lost with it is sent again at once, after the target has shown that
// it is the same (H15).
//
// fits tells whether the frames of requests are within the port's MTU; those
// that are not get lost.
func (e *Engine) LinkChanged(now time.Duration, local frame.MAC, up, fits bool) {
	e.path.local = local
	e.publishPath()
	e.setTrouble(now, SmallMTU, !fits)
	was := e.trouble[LinkDown].on
	e.setTrouble(now, LinkDown, !up)
	if up && was {
		e.suspend(now)
		e.control.due, e.control.tries = now, 0
	}
}
