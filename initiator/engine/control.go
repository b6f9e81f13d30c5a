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

// A control is the engine's own traffic: at most one frame in flight, outside
// of the window.
type control struct {
	phase      phase
	slot       int32
	due        time.Duration // next transmission; idle: next probe
	tries      uint8
	revalidate bool          // an IDENTIFY follows the query
	suspended  bool          // no data is sent until the IDENTIFY is answered
	provenAt   time.Duration // when the identity was last seen to be right
	proven     bool

	query, identify []byte // whole frames
}

func newControl(addr frame.Addr) control {
	header := frame.Header{Addr: addr, Command: commandQuery}
	query := frame.Config{}.Append(header.Append(nil))
	header.Command = commandATA
	identify := frame.ATA{Op: frame.OpIdentify, Count: 1}.Append(header.Append(nil))
	return control{due: Never, query: frame.Pad(query), identify: frame.Pad(identify)}
}

// ask begins with a query, unless something is asked already.
func (e *Engine) ask(now time.Duration) {
	if c := &e.control; c.phase == idle {
		c.phase, c.due, c.tries = asking, now, 0
	}
}

// suspend holds data back until the target has shown its identity.
func (e *Engine) suspend(now time.Duration) {
	c := &e.control
	if !c.suspended {
		e.counters.Suspensions++
	}
	c.suspended, c.revalidate = true, true
	e.ask(now)
}

// announceInterval bounds how often an announcement, which anybody can forge
// (H22), holds data back.
const announceInterval = time.Second

// onAnnounce: the disk was started, or its size, MTU or link have changed (H16).
func (e *Engine) onAnnounce(now time.Duration) {
	c := &e.control
	if c.proven && now-c.provenAt < announceInterval {
		c.revalidate = true
		c.due = min(c.due, c.provenAt+announceInterval)
		e.arm(c.due)
		return
	}
	e.suspend(now)
}

// advanceControl starts the probe that is due.
func (e *Engine) advanceControl(now time.Duration) {
	c := &e.control
	if c.due > now {
		e.arm(c.due)
		return
	}
	if c.phase == idle {
		e.ask(now)
	}
	if c.tries >= 3 && e.path.silentFor(now) >= e.cfg.Silence {
		e.setTrouble(now, Silent, true)
	}
}

// drainControl is the control frame that is to be sent now, or nil.
func (e *Engine) drainControl(now time.Duration) []byte {
	c := &e.control
	if c.phase == idle || c.due > now {
		return nil
	}
	b, command := c.query, commandQuery
	if c.phase == identifying {
		b, command = c.identify, commandATA
	}
	if c.slot == 0 {
		if c.slot = e.table.take(); c.slot == 0 {
			e.counters.NoSlot++
			return nil
		}
		s := &e.table.slots[c.slot]
		s.state, s.class, s.command = slotControl, classNetwork, command
	}
	e.table.stamp(now, c.slot, b, e.path.remote, e.path.local)
	e.path.onSent(now)
	c.due = now + max(e.timeout(classNetwork, c.tries), leastControlTimeout)
	if c.tries < 255 {
		c.tries++
	}
	e.arm(c.due)
	e.counters.Probes++
	return b
}

// idleControl ends the exchange and plans the next probe.
func (e *Engine) idleControl(now time.Duration) {
	c := &e.control
	e.releaseControl()
	c.phase, c.due = idle, Never
	if e.cfg.Probe > 0 {
		c.due = now + e.cfg.Probe
		e.arm(c.due)
	}
}

func (e *Engine) releaseControl() {
	if e.control.slot != 0 {
		e.table.release(e.control.slot)
		e.control.slot = 0
	}
}

// onControlAnswer takes an answer to a query or an IDENTIFY. What cannot be
// read is not an answer.
func (e *Engine) onControlAnswer(now time.Duration, i int32, n uint32, h frame.Header, arg []byte) {
	c := &e.control
	if c.phase == asking {
		answer, err := frame.ParseConfig(arg)
		if err != nil || h.IsError() {
			e.counters.Drops.Truncated++
			return
		}
		e.measure(now, &e.table.slots[i], n)
		e.window.buffers = max(int(answer.BufferCount), 1)
		e.maxSectors = answer.MaxSectorsPerFrame()
		if !c.revalidate {
			e.idleControl(now)
			e.heard(now)
			return
		}
		e.releaseControl()
		c.phase, c.due, c.tries = identifying, now, 0
		e.heard(now)
		return
	}
	e.onIdentify(now, h, arg)
}
