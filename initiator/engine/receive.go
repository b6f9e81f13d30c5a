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

// Receive looks at one frame that a port has received. When it is the answer to frame i of r,
// the owner keeps it: an answer to a read holds its data behind
// [frame.ATADataOffset]. When r is nil the frame is to be freed at once; why is
// counted. Receive keeps nothing of b.
func (e *Engine) Receive(now time.Duration, port int, b []byte) (r *Request, i int) {
	l := e.look(port, b)
	if l.verdict != answers {
		*e.counters.Drops.dropped(l.verdict)++
		switch l.verdict {
		case announces:
			e.onAnnounce(now, l.path)
		case isLate:
			e.onStaleAnswer(l.slot, l.header.Tag)
		}
		return nil, 0
	}
	s := &e.table.slots[l.slot]
	if s.state == slotControl {
		e.onControlAnswer(now, &e.paths[s.path], l)
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
		e.onLateAnswer(now, l)
		return nil, 0
	}
	r, i = s.req, int(s.index)
	e.onAnswer(now, l, outcome)
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
// its class, if its time is still known, and returns the path that it was sent
// over. If a later copy had been sent already, or was about to be, then for
// nothing.
func (e *Engine) measure(now time.Duration, s *slot, n uint32) *path {
	at, known := s.sentAt(n)
	p := &e.paths[s.path]
	if known {
		p = &e.paths[s.via[n%timesKept]]
		p.rtt[s.class].sample(now - at)
		p.order[s.class].onAnswer(at)
		p.reached, p.sampled = max(p.reached, at), now
		if s.sectors > 1 {
			p.longLost = 0
		}
	}
	if n+1 < s.count {
		e.counters.Spurious++
	}
	if n+1 < s.count || s.state == slotLost {
		e.window.onSpurious()
		if known {
			e.presumeDelayed(now, p, at)
		}
	}
	return p
}

// presumeDelayed: an answer came to a copy sent over p at that time, which had
// been given up. What was sent no earlier was given up too early as well: it is
// late for the same reason, and sending it again would make the target later
// still.
func (e *Engine) presumeDelayed(now time.Duration, p *path, at time.Duration) {
	for i := e.lost.head; i != 0 && e.inFlight < e.window.limit(); {
		s := &e.table.slots[i]
		next := s.next
		if s.path == p.index && p.usable() && s.lastSent() >= at {
			e.find(i)
			e.fly(i)
			if s.backoff > 0 {
				s.backoff--
			}
			s.deadline = now + e.timeout(p, s.class, s.backoff)
			e.arm(s.deadline)
		}
		i = next
	}
}

// onAnswer ends the frame that was answered.
func (e *Engine) onAnswer(now time.Duration, l look, o Outcome) {
	s := &e.table.slots[l.slot]
	r, f := s.req, &s.req.Frames[s.index]
	s.answered |= bit(l.nth)
	e.window.onAnswer(e.inFlight)
	p := e.measure(now, s, l.nth)
	e.counters.Answered++

	f.slot = 0
	f.From, f.Count = s.lba-f.LBA, s.sectors
	c, sectors := s.class, s.sectors
	divisible := s.kind.divisible()
	e.retire(now, l.slot)
	e.loseOvertaken(now, p, c)
	e.onHeardFrom(now, p)
	if divisible && o.Result == TargetError && o.Code == aoe.ErrorBadArgumentParameter && e.onTooLong(now, l.path, sectors) {
		f.Count = 0
		e.parts.waiting.push(f)
		return
	}
	if o.Result != OK {
		if o.Result == TargetError {
			e.counters.TargetErrors++
		} else {
			e.counters.ATAErrors++
		}
		e.finish(now, r, o) // its other frames are not waited for: fail fast (H11)
		return
	}
	if r.Kind != Read {
		e.unsynced.show(r, l.arg)
	}
	if f.part = f.From + f.Count; f.part < f.Sectors {
		e.parts.waiting.push(f)
		return
	}
	e.drop(f)
	if r.pending--; r.pending == 0 {
		e.finish(now, r, e.settle(r))
	}
}

// onLateAnswer accounts for one more copy of a finished write.
func (e *Engine) onLateAnswer(now time.Duration, l look) {
	s := &e.table.slots[l.slot]
	p := l.path
	e.counters.Drops.Late++
	if s.answered&bit(l.nth) == 0 {
		c := s.class
		s.answered |= bit(l.nth)
		p = e.measure(now, s, l.nth)
		if s.allAnswered() {
			e.takeDownFence(l.slot)
		} else {
			e.sortFence(l.slot)
		}
		e.loseOvertaken(now, p, c)
	}
	e.onHeardFrom(now, p)
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
	e.paths[s.via[n%timesKept]].order[s.class].onAnswer(s.sent[n%timesKept])
	e.window.onSpurious()
}

// onHeardFrom notes that the target is there, over p.
func (e *Engine) onHeardFrom(now time.Duration, p *path) {
	p.onHeard(now, p.outstanding())
	p.suspect = false
	if !p.standby { // another target's answers are no life sign of this one
		e.onHeard(now, e.outstanding())
	}
	e.passFences(now, p)
	if p.trouble[Silent].on && p.usable() {
		e.setPathTrouble(now, p, Silent, false)
	}
	for i := range e.paths {
		if q := &e.paths[i]; q != p && q.suspect && q.usable() {
			e.arm(now) // it may have been overtaken
		}
	}
}

func bit(n uint32) uint64 {
	if n >= 64 {
		return 0
	}
	return 1 << n
}
