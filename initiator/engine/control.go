package engine

import (
	"time"

	"aoe/frame"
)

// A phase is what the control frame in flight asks.
type phase uint8

const (
	idle        phase = iota
	asking            // query config: is the target there, what can it hold?
	identifying       // IDENTIFY: is it the disk that was pinned?
)

// leastControlTimeout keeps control frames from being sent in close succession:
// nothing urgent depends on them.
const leastControlTimeout = 50 * time.Millisecond

// A control is the engine's own traffic on a path: at most one frame in flight,
// outside of the window.
type control struct {
	phase      phase
	slot       int32
	due        time.Duration // next transmission; idle: next probe
	tries      uint8
	revalidate bool          // an IDENTIFY follows the query
	suspended  bool          // no data is sent until the IDENTIFY is answered
	provenAt   time.Duration // when the identity was last seen to be right
	proven     bool

	rungs []rung           // lengths of IDENTIFY to try
	tried [mostTries]uint8 // which of them a transmission of the slot was of

	query    []byte // whole frame
	identify []byte // the same, padded to the length of the longest
}

func newControl(addr frame.Addr, frameLen int, full uint64) control {
	header := frame.Header{Addr: addr, Command: commandQuery}
	query := frame.Config{}.Append(header.Append(nil))
	header.Command = commandATA
	identify := frame.ATA{Op: frame.OpIdentify, Count: 1}.Append(header.Append(nil))
	identify = frame.Pad(identify)
	identify = append(identify, make([]byte, max(frameLen-len(identify), 0))...)
	return control{due: Never, query: frame.Pad(query), identify: identify, rungs: ladder(full)}
}

// ask begins with a query, unless something is asked already.
func (c *control) ask(now time.Duration) {
	if c.phase == idle {
		c.phase, c.due, c.tries = asking, now, 0
	}
}

// suspend holds data back from p until the target has shown its identity there.
func (e *Engine) suspend(now time.Duration, p *path) {
	c := &p.control
	if !c.suspended {
		e.counters.Suspensions++
	}
	c.suspended, c.revalidate = true, true
	c.ask(now)
}

// Revalidate asks for the identity over every path, without holding data back.
func (e *Engine) Revalidate(now time.Duration) {
	for i := range e.paths {
		c := &e.paths[i].control
		c.revalidate = true
		if c.phase == idle {
			c.ask(now)
		}
		e.arm(c.due)
	}
}

// announceInterval bounds how often an announcement, which anybody can forge
// (H22), holds data back.
const announceInterval = time.Second

// onAnnounce: the disk was started, or its size, MTU or link have changed (H16).
func (e *Engine) onAnnounce(now time.Duration, p *path) {
	c := &p.control
	if c.proven && now-c.provenAt < announceInterval {
		c.revalidate = true
		c.due = min(c.due, c.provenAt+announceInterval)
		e.arm(c.due)
		return
	}
	e.suspend(now, p)
}

// advanceControl starts the probe of p that is due.
func (e *Engine) advanceControl(now time.Duration, p *path) {
	c := &p.control
	if c.due > now {
		e.arm(c.due)
		return
	}
	if c.phase == idle {
		c.ask(now)
	}
	if c.tries >= 3 && p.silentFor(now) >= e.cfg.Silence {
		e.setPathTrouble(now, p, Silent, true)
		if p.usable() && e.otherPath(p) {
			e.fail(now, p)
		}
	}
}

// How often the first length is tried that might get through, and each shorter
// one: that tells a path on which long frames get lost from a dead one.
const (
	firstTries   = 3
	shorterTries = 2
	mostTries    = firstTries + shorterTries*(maxRungs-1)
)

// nextRung is the length of the IDENTIFY that is to be sent over p now; ok is
// false when all were tried in vain.
func (p *path) nextRung() (i int, ok bool) {
	c := &p.control
	if len(c.rungs) == 1 {
		return 0, true
	}
	for i < len(c.rungs)-1 && c.rungs[i].sectors > min(p.limits.fits, p.limits.told) {
		i++ // will not get through
	}
	if c.tries >= firstTries {
		i += 1 + int(c.tries-firstTries)/shorterTries
	}
	return i, i < len(c.rungs)
}

// lengthOf is how long a frame of the i-th rung is: the longest is as long as
// was asked for.
func (p *path) lengthOf(i int) int {
	if i == 0 {
		return len(p.control.identify)
	}
	return p.control.rungs[i].len
}

// drainControl is the control frame that is to be sent over p now, or nil.
func (e *Engine) drainControl(now time.Duration, p *path) []byte {
	c := &p.control
	if c.phase == idle || c.due > now {
		return nil
	}
	b, command, rung := c.query, commandQuery, 0
	if c.phase == identifying {
		var ok bool
		if rung, ok = p.nextRung(); ok {
			b, command = c.identify[:p.lengthOf(rung)], commandATA
		} else {
			// Nobody is there any more: whoever is next is asked anew.
			e.releaseControl(c)
			c.phase, c.tries = asking, firstTries
		}
	}
	if c.slot == 0 {
		if c.slot = e.table.take(); c.slot == 0 {
			e.counters.NoSlot++
			return nil
		}
		s := &e.table.slots[c.slot]
		s.state, s.class, s.command = slotControl, classNetwork, command
	}
	c.tried[e.table.slots[c.slot].count%mostTries] = uint8(rung)
	e.table.stamp(now, c.slot, b, p)
	p.onSent(now)
	if !p.standby {
		e.onSent(now)
	}
	c.due = now + max(e.timeout(p, classNetwork, c.tries), leastControlTimeout)
	if c.tries < 255 {
		c.tries++
	}
	e.arm(c.due)
	e.counters.Probes++
	return b
}

// idleControl ends the exchange over p and plans the next probe.
func (e *Engine) idleControl(now time.Duration, p *path) {
	c := &p.control
	e.releaseControl(c)
	c.phase, c.due = idle, Never
	if e.cfg.Probe > 0 {
		c.due = now + e.cfg.Probe
		e.arm(c.due)
	}
}

func (e *Engine) releaseControl(c *control) {
	if c.slot != 0 {
		e.table.release(c.slot)
		c.slot = 0
	}
}

// onControlAnswer takes an answer to a query or an IDENTIFY that p asked. What
// cannot be read is not an answer.
func (e *Engine) onControlAnswer(now time.Duration, p *path, l look) {
	c := &p.control
	if c.phase != asking {
		e.onIdentify(now, p, l)
		return
	}
	answer, err := frame.ParseConfig(l.arg)
	if err != nil || l.header.IsError() {
		e.counters.Drops.Truncated++
		return
	}
	if !p.known() {
		p.remote = l.header.Src
		e.publishPaths()
	}
	e.measure(now, &e.table.slots[l.slot], l.nth)
	e.window.buffers = max(int(answer.BufferCount), 1)
	e.maxSectors = answer.MaxSectorsPerFrame()
	if told := uint64(e.maxSectors); told != p.limits.told && p.limits.full > 0 {
		c.revalidate = c.revalidate || min(told, p.limits.told) < p.limits.full
		p.limits.told = told
	}
	if !c.revalidate {
		e.idleControl(now, p)
		e.onHeardFrom(now, p)
		return
	}
	e.releaseControl(c)
	c.phase, c.due, c.tries = identifying, now, 0
	e.onHeardFrom(now, p)
}
