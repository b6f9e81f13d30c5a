package engine

import "time"

// Deadline is when Advance has to be called at the latest, or Never.
func (e *Engine) Deadline() time.Duration { return e.wakeAt }

// Advance does what is due at now. It costs nothing before Deadline, which may
// be too early: timers of frames that were answered are not taken back.
func (e *Engine) Advance(now time.Duration) {
	if now < e.wakeAt {
		return
	}
	e.wakeAt = Never
	e.expireFences(now)
	for c := range e.path.flight {
		for i := e.path.flight[c].head; i != 0; {
			s := &e.table.slots[i]
			next := s.next
			if s.deadline <= now {
				e.onTimeout(now, i)
			} else {
				e.arm(s.deadline)
			}
			i = next
		}
	}
	e.watchSilence(now)
	e.advanceControl(now)
	e.giveUp(now)
}

// watchSilence holds data back when nothing at all was heard for long although
// something timed out: whoever answers next has to show that it is still the
// disk that was pinned (H15), and until then one small frame at a time is
// enough to find out.
func (e *Engine) watchSilence(now time.Duration) {
	if e.lost.head == 0 || e.control.suspended {
		return
	}
	if e.path.silentFor(now) >= e.cfg.Silence {
		e.suspend(now)
		return
	}
	e.arm(e.path.waitingSince + e.cfg.Silence)
}

// giveUp ends what has been tried for the dead time.
func (e *Engine) giveUp(now time.Duration) {
	dead := e.cfg.DeadTime
	if dead < 0 || e.down() {
		return
	}
	if e.path.waiting {
		if e.path.silentFor(now) >= dead {
			e.setTrouble(now, Dead, true)
			e.suspend(now)
			e.FailAll(now, Down)
			return
		}
		e.arm(e.path.waitingSince + dead)
	}
	for c := range e.path.flight {
		e.giveUpOn(now, &e.path.flight[c])
	}
	e.giveUpOn(now, &e.lost)
}

// giveUpOn ends the requests in a list that have been tried for the dead time.
func (e *Engine) giveUpOn(now time.Duration, list *slotList) {
	for i := list.head; i != 0; {
		s := &e.table.slots[i]
		if end := s.first + e.cfg.DeadTime; end > now {
			e.arm(end)
			i = s.next
			continue
		}
		e.finish(now, s.req, Outcome{Result: Unanswered, LBA: s.lba})
		i = list.head // finish took more than one out
	}
}

// onTimeout: the timer of slot i has run out. Either the frame was lost, and is
// sent again when the window has room, or it only seems so: as long as answers
// keep coming and none was to a frame sent after this one, the target is working
// its way to it, and sending it again would make it slower still. That is common
// when one of the two computers does not get its processor for a few
// milliseconds.
func (e *Engine) onTimeout(now time.Duration, i int32) {
	s := &e.table.slots[i]
	half := e.timeout(s.class, 0) / 2
	silent := now-e.path.heard >= half
	if !silent && e.path.reached <= s.lastSent() {
		s.deadline = e.path.heard + half
		e.arm(s.deadline)
		return
	}
	if s.backoff < 255 {
		s.backoff++
	}
	e.counters.Timeouts++
	e.lose(now, i, silent)
}
