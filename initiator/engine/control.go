package engine

import (
	"bytes"
	"encoding/binary"
	"time"

	"aoe/frame"
)

// An Identity is what a disk is known by (H15): the bytes of its IDENTIFY data
// that hold the serial number, and its size.
type Identity struct {
	Serial  [frame.SerialLen]byte
	Sectors uint64
}

// Positions in IDENTIFY data, in bytes (ATA8-ACS, 7.12).
const (
	identifySerial = 2 * 10
	identifyLBA28  = 2 * 60
	identify83     = 2 * 83
	identifyLBA48  = 2 * 100
)

// ReadIdentity reads an Identity out of IDENTIFY data, without allocating:
// that is also done while there is no memory.
func ReadIdentity(data []byte) Identity {
	var id Identity
	copy(id.Serial[:], data[identifySerial:])
	id.Sectors = uint64(binary.LittleEndian.Uint32(data[identifyLBA28:])) & (1<<28 - 1)
	// Bits 15:14 are 01 when the word is valid, bit 10 is LBA48.
	if w := binary.LittleEndian.Uint16(data[identify83:]); w>>14 == 1 && w&(1<<10) != 0 {
		if n := binary.LittleEndian.Uint64(data[identifyLBA48:]) & (1<<48 - 1); n != 0 {
			id.Sectors = n
		}
	}
	return id
}

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

// onIdentify compares the disk that answers with the one that was pinned.
func (e *Engine) onIdentify(now time.Duration, h frame.Header, arg []byte) {
	c := &e.control
	disk := slot{kind: Read, sectors: 1}
	o, ok := judge(&disk, h, arg)
	if !ok {
		e.counters.Drops.Truncated++
		return
	}
	e.heard(now)
	if o.Result != OK {
		// It is there and refuses. Nothing is gained by waiting (H11); the
		// next try is when the timer says.
		e.setTrouble(now, Refusing, true)
		e.refusal = o
		e.failAll(now, o)
		return
	}
	_, data, _ := frame.ParseATA(arg)
	id := ReadIdentity(data)
	e.setTrouble(now, Refusing, false)
	e.setTrouble(now, Silent, false)
	e.setTrouble(now, Dead, false)
	if !bytes.Equal(id.Serial[:], e.cfg.Identity.Serial[:]) {
		if !e.trouble[Replaced].on {
			e.setTrouble(now, Replaced, true)
			e.FailAll(now, Down)
		}
		c.revalidate = true
		e.idleControl(now)
		c.due = now + replacedInterval
		e.arm(c.due)
		return
	}
	e.setTrouble(now, Replaced, false)
	if id.Sectors != e.sectors {
		e.counters.Resizes++
		e.sectors = id.Sectors
	}
	e.setTrouble(now, Shrunk, id.Sectors < e.cfg.Identity.Sectors)
	c.proven, c.provenAt, c.revalidate, c.suspended = true, now, false, false
	e.idleControl(now)
	e.forgetBackoff(now)
}

// forgetBackoff: the target is back, so what it missed is sent soon.
func (e *Engine) forgetBackoff(now time.Duration) {
	for i := e.lost.head; i != 0; i = e.table.slots[i].next {
		e.table.slots[i].backoff = 0
	}
	for i := e.flight.head; i != 0; i = e.table.slots[i].next {
		s := &e.table.slots[i]
		s.backoff = 0
		s.deadline = min(s.deadline, now+e.timeout(s.class, 0))
		e.arm(s.deadline)
	}
}

// replacedInterval is how often a disk that is not ours is asked whether ours
// is back.
const replacedInterval = time.Second
