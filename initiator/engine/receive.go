package engine

import (
	"time"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

const (
	commandATA   = aoe.CommandIssueATACommand
	commandQuery = aoe.CommandQueryConfigInformation
)

// Receive looks at one received frame. When it is the answer to frame i of r,
// the owner keeps it: an answer to a read holds its data behind
// [frame.ATADataOffset]. When r is nil the frame is to be freed at once; why is
// counted. Receive keeps nothing of b.
func (e *Engine) Receive(now time.Duration, b []byte) (r *Request, i int) {
	l := e.look(b)
	if l.verdict != answers {
		*e.counters.Drops.dropped(l.verdict)++
		switch l.verdict {
		case announces:
			e.onAnnounce(now)
		case isLate:
			e.onStaleAnswer(l.slot, l.header.Tag)
		}
		return nil, 0
	}
	s := &e.table.slots[l.slot]
	if s.state == slotControl {
		e.onControlAnswer(now, l.slot, l.nth, l.header, l.arg)
		return nil, 0
	}
	outcome, ok := judge(s, l.header, l.arg)
	if !ok {
		// "Data shorter than asked for": not an answer. Another copy of the
		// request may get a whole one.
		e.counters.Drops.Truncated++
		return nil, 0
	}
	if s.state == slotLingering {
		e.onLateAnswer(now, l.slot, l.nth)
		return nil, 0
	}
	r, i = s.req, int(s.index)
	e.onAnswer(now, l.slot, l.nth, outcome)
	return r, i
}

// judge tells what an answer says, by E, by status and by the length of the
// data. The sector count of an answer is not looked at: implementations differ
// (H12). ok is false when it is no answer at all.
func judge(s *slot, h frame.Header, arg []byte) (o Outcome, ok bool) {
	if h.IsError() {
		return Outcome{Result: TargetError, Code: h.Error, LBA: s.lba}, true
	}
	a, data, err := frame.ParseATA(arg)
	if err != nil {
		return o, false
	}
	if a.Status()&frame.StatusFault != 0 {
		return Outcome{Result: ATAError, Status: a.Status(), Error: a.Feature, LBA: s.lba}, true
	}
	if s.kind == Read && uint64(len(data)) < s.sectors*frame.SectorSize {
		return o, false
	}
	return o, true
}

// measure takes the round trip of transmission n of s into the estimator of
// its class, if its time is still known. If a later copy had been sent already,
// or was about to be, then for nothing.
func (e *Engine) measure(now time.Duration, s *slot, n uint32) {
	at, known := s.sentAt(n)
	if known {
		e.path.rtt[s.class].sample(now - at)
		e.path.order[s.class].onAnswer(at)
		e.path.reached = max(e.path.reached, at)
	}
	if n+1 < s.count {
		e.counters.Spurious++
	}
	if n+1 < s.count || s.state == slotLost {
		e.window.onSpurious()
		if known {
			e.presumeDelayed(now, at)
		}
	}
}

// presumeDelayed: an answer came to a copy sent at that time, which had been
// given up. What was sent no earlier was given up too early as well: it is late
// for the same reason, and sending it again would make the target later still.
func (e *Engine) presumeDelayed(now, at time.Duration) {
	for i := e.lost.head; i != 0 && e.inFlight < e.window.limit(); {
		s := &e.table.slots[i]
		next := s.next
		if s.lastSent() >= at {
			e.table.remove(&e.lost, i)
			e.refly(i)
			if s.backoff > 0 {
				s.backoff--
			}
			s.deadline = now + e.timeout(s.class, s.backoff)
			e.arm(s.deadline)
		}
		i = next
	}
}

// onAnswer ends the frame in slot i.
func (e *Engine) onAnswer(now time.Duration, i int32, n uint32, o Outcome) {
	s := &e.table.slots[i]
	r, f := s.req, &s.req.Frames[s.index]
	s.answered |= bit(n)
	e.window.onAnswer(e.inFlight)
	e.measure(now, s, n)
	e.counters.Answered++

	f.slot, f.done = 0, true
	c := s.class
	e.retire(now, i)
	e.loseOvertaken(now, c)
	e.heard(now)
	if o.Result != OK {
		if o.Result == TargetError {
			e.counters.TargetErrors++
		} else {
			e.counters.ATAErrors++
		}
		e.finish(now, r, o) // its other frames are not waited for: fail fast (H11)
		return
	}
	if r.pending--; r.pending == 0 {
		e.finish(now, r, Outcome{})
	}
}

// onLateAnswer accounts for one more copy of a finished write.
func (e *Engine) onLateAnswer(now time.Duration, i int32, n uint32) {
	s := &e.table.slots[i]
	e.counters.Drops.Late++
	if s.answered&bit(n) == 0 {
		c := s.class
		s.answered |= bit(n)
		e.measure(now, s, n)
		if s.allAnswered() {
			e.takeDownFence(i)
		}
		e.loseOvertaken(now, c)
	}
	e.heard(now)
}

// onStaleAnswer: a copy of a frame was answered whose slot is free already,
// because another copy was answered first. If it was sent again because it
// seemed to be lost, it only was slow.
func (e *Engine) onStaleAnswer(i int32, tag uint32) {
	s := &e.table.slots[i]
	n := s.earlier - (s.base-tag>>e.table.bits)&e.table.genMask
	if n >= s.earlier || n+1 >= s.earlier || s.earlier-n > timesKept || s.answered&bit(n) != 0 || s.class == classNetwork {
		return
	}
	s.answered |= bit(n)
	e.counters.Spurious++
	e.path.order[s.class].onAnswer(s.sent[n%timesKept])
	e.window.onSpurious()
}

// heard notes that the target is there.
func (e *Engine) heard(now time.Duration) {
	e.path.onHeard(now, e.outstanding())
	e.passFences(now)
	if e.trouble[Silent].on && !e.control.suspended {
		e.setTrouble(now, Silent, false)
	}
}

func bit(n uint32) uint64 {
	if n >= 64 {
		return 0
	}
	return 1 << n
}
