package engine

import (
	"time"

	"aoe/frame"
)

// Two targets can have the disk, one store behind both. Each keeps the order of
// the requests that it was sent (H3), and knows a late copy of a write; neither
// knows of the other's: a write that waits in a slow one, was sent again to the
// other and answered, would undo what was written since (H1), and no fence
// stands for as long as a target can be slow. So only the paths to one of them
// are used. Which target is at a path's end is told by its instance, in IDENTIFY.
//
// The paths that have shown the instance in use are its paths. One that shows
// another is standby: it is asked for its identity every now and then, and sent
// nothing else, until
//
//   - it was a path of the target in use itself until a moment ago, and that has
//     none left: the target was started again, or its MAC was given to another, or
//   - [Config.Failover] permits it.
//
// A path that was silent before it showed another instance, while the target in
// use had others, was not its path any more, perhaps for long: that somebody has
// that MAC now says nothing of whether the target lives.
//
// Targets that tell no instance are taken for one.

// inUse reports whether p is a path to the target in use: it has shown so when
// it was identified last.
func (p *path) inUse() bool { return p.told && !p.standby }

// outOfUse reports whether nothing can be had over p for now.
func (p *path) outOfUse(now time.Duration, silence time.Duration) bool {
	return p.gone(now, silence) || !p.usable() && (p.trouble[Replaced].on || p.trouble[Refusing].on)
}

// gone is outOfUse because nobody answers, rather than because somebody refuses.
func (p *path) gone(now time.Duration, silence time.Duration) bool {
	return !p.usable() && (p.trouble[LinkDown].on || p.trouble[Silent].on && now-p.heard >= silence)
}

// onInstance takes in which target has just identified the disk over p, and
// reports whether p may be used. silent tells that p had been, when it was asked.
func (e *Engine) onInstance(now time.Duration, p *path, shown frame.Instance, silent bool) bool {
	was := p.inUse()
	p.moved = shown != e.instance && (was && !silent || p.moved)
	p.told, p.instance = true, shown
	switch {
	case shown == e.instance:
		p.standby = false
	case (was || p.moved) && !e.inUseBut(now, p):
		e.turnTo(now, shown)
	default:
		p.standby = true
		e.standAside(now, p)
		if was {
			e.identifyOthers(now, p) // they may have moved as well
		}
	}
	e.sumUpTroubles(now)
	return !p.standby
}

// inUseBut reports whether the target in use has a path besides p that is not
// out of use.
func (e *Engine) inUseBut(now time.Duration, p *path) bool {
	for i := range e.paths {
		if q := &e.paths[i]; q != p && q.inUse() && !q.outOfUse(now, e.cfg.Silence) {
			return true
		}
	}
	return false
}

// identifyOthers has every path but p identify the disk now.
func (e *Engine) identifyOthers(now time.Duration, p *path) {
	for i := range e.paths {
		if q := &e.paths[i]; q != p {
			q.control.revalidate = true
			q.control.due = min(q.control.due, now)
			e.arm(now)
		}
	}
}

// standAside holds data back from p, and takes back what is in flight over it.
func (e *Engine) standAside(now time.Duration, p *path) {
	e.suspend(now, p)
	for c := range p.flight {
		for i := p.flight[c].head; i != 0; i = p.flight[c].head {
			e.takeBack(i)
		}
	}
}

// turnTo uses another target from now on: the paths that have shown its instance,
// after it has been identified there again.
func (e *Engine) turnTo(now time.Duration, instance frame.Instance) {
	e.instance, e.turned, e.allGone = instance, now, false
	e.counters.Turns++
	e.leaveFencesToTime()
	for i := range e.paths {
		p := &e.paths[i]
		p.moved = false
		if p.standby = p.told && p.instance != instance; p.standby {
			e.standAside(now, p)
		}
		p.control.revalidate = true
		p.control.ask(now)
	}
	e.sumUpTroubles(now)
}

// leaveFencesToTime: what the new target answers tells nothing of the copies that
// were sent to the one before.
func (e *Engine) leaveFencesToTime() {
	for i := range e.paths {
		l := &e.fence.lists[i]
		for s := l.head; s != 0; s = l.head {
			e.table.remove(l, s)
			e.enlist(fenceMixed, s)
		}
	}
}

// watchInstance turns to another target when the one in use has no path left.
func (e *Engine) watchInstance(now time.Duration) {
	var moved, other *path
	allGone := true
	for i := range e.paths {
		p := &e.paths[i]
		switch {
		case p.inUse():
			if !p.outOfUse(now, e.cfg.Silence) {
				e.allGone = false
				return
			}
			allGone = allGone && p.gone(now, e.cfg.Silence)
		case !p.standby || p.ill():
		case p.moved:
			moved = p
		case other == nil:
			other = p
		}
	}
	switch {
	case moved != nil:
		e.turnTo(now, moved.instance)
	case !allGone || e.cfg.Failover <= 0:
		e.allGone = false
	case !e.allGone:
		e.allGone, e.goneSince = true, now
		e.arm(now + e.failover())
	case now < e.goneSince+e.failover():
		e.arm(e.goneSince + e.failover())
	case other != nil:
		e.turnTo(now, other.instance)
	}
}

// failover is how long the target in use must have been gone for another to be
// used: as long as a frame to it can be alive at least.
func (e *Engine) failover() time.Duration { return max(e.cfg.Failover, e.cfg.FrameLife) }

// ill reports whether p has any trouble.
func (p *path) ill() bool {
	for t := range p.trouble {
		if p.trouble[t].on {
			return true
		}
	}
	return false
}
