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
	for i := range e.paths {
		p := &e.paths[i]
		e.expireTimers(now, p)
		e.watchSilence(now, p)
		e.advanceControl(now, p)
	}
	e.watchInstance(now)
	e.giveUp(now)
}

// expireTimers looks at the timers of the frames in flight over p.
func (e *Engine) expireTimers(now time.Duration, p *path) {
	for c := range p.flight {
		for i := p.flight[c].head; i != 0; {
			s := &e.table.slots[i]
			next := s.next
			if s.deadline <= now {
				e.onTimeout(now, p, i)
			} else {
				e.arm(s.deadline)
			}
			i = next
		}
	}
}

// watchSilence holds data back when nothing at all was heard for long although
// something timed out: whoever answers next has to show that it is still the
// disk that was pinned (H15), and until then one small frame at a time is
// enough to find out.
//
// With several paths it is one of them that is silent, for two timeouts, while
// something was answered over another that was sent later.
func (e *Engine) watchSilence(now time.Duration, p *path) {
	if !p.waiting || p.lost == 0 && !p.suspect || !p.usable() {
		return
	}
	silence := e.cfg.Silence
	if e.overtaken(p) {
		silence = min(silence, 2*e.pathTimeout(p))
	}
	if p.silentFor(now) >= silence {
		if e.otherPath(p) {
			e.setPathTrouble(now, p, Silent, true)
		}
		e.fail(now, p)
		return
	}
	e.arm(p.waitingSince + silence)
}

// pathTimeout is the longest timeout of p that comes from measurements.
func (e *Engine) pathTimeout(p *path) time.Duration {
	most := time.Duration(0)
	for _, c := range [...]class{classRead, classWrite} {
		if p.rtt[c].samples > 0 {
			most = max(most, e.timeout(p, c, 0))
		}
	}
	if most == 0 {
		return e.cfg.RTOFirst
	}
	return most
}

// overtaken reports whether something was answered over another path that was
// sent after what p is waited for.
func (e *Engine) overtaken(p *path) bool {
	for i := range e.paths {
		if q := &e.paths[i]; q != p && q.usable() && q.reached > p.waitingSince {
			return true
		}
	}
	return false
}

// otherPath reports whether there is one that data may be sent over.
func (e *Engine) otherPath(p *path) bool {
	for i := range e.paths {
		if q := &e.paths[i]; q != p && q.usable() {
			return true
		}
	}
	return false
}

// fail suspends p. What is in flight over it is sent over another, if there is
// one.
func (e *Engine) fail(now time.Duration, p *path) {
	was := p.usable()
	e.suspend(now, p)
	if !was || !e.otherPath(p) {
		return
	}
	e.counters.Failovers++
	for c := range p.flight {
		for i := p.flight[c].head; i != 0; i = p.flight[c].head {
			e.takeBack(i)
		}
	}
}

// giveUp ends what has been tried for the dead time.
func (e *Engine) giveUp(now time.Duration) {
	dead := e.cfg.DeadTime
	if dead < 0 || e.down() {
		return
	}
	if e.waiting {
		if e.silentFor(now) >= dead {
			e.setTrouble(now, Dead, true)
			for i := range e.paths {
				e.suspend(now, &e.paths[i])
			}
			e.FailAll(now, Down)
			return
		}
		e.arm(e.waitingSince + dead)
	}
	for i := range e.paths {
		for c := range e.paths[i].flight {
			e.giveUpOn(now, &e.paths[i].flight[c])
		}
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
func (e *Engine) onTimeout(now time.Duration, p *path, i int32) {
	s := &e.table.slots[i]
	half := e.timeout(p, s.class, 0) / 2
	silent := now-p.heard >= half
	if !silent && p.reached <= s.lastSent() {
		s.deadline = p.heard + half
		e.arm(s.deadline)
		return
	}
	if s.backoff < 255 {
		s.backoff++
	}
	e.counters.Timeouts++
	if silent && s.class != classFlush && !p.suspect {
		p.suspect = true
		if len(e.paths) > 1 {
			p.control.ask(now) // what it is waited for may go elsewhere
		}
	}
	e.lose(now, i, silent)
}
