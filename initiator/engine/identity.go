package engine

import (
	"encoding/binary"
	"time"

	"aoe/frame"
)

// An Identity is what a disk is known by (H15): the bytes of its IDENTIFY data
// that hold the serial number, and its size; and which target it was that said so.
type Identity struct {
	Serial   [frame.SerialLen]byte
	Sectors  uint64
	Instance frame.Instance // zero: the target does not tell
	Verifier frame.Verifier // likewise, of the disk
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
	id := Identity{Instance: frame.ReadInstance(data), Verifier: frame.ReadVerifier(data)}
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

// onIdentify compares the disk that answers over p with the one that was pinned.
func (e *Engine) onIdentify(now time.Duration, p *path, l look) {
	c := &p.control
	disk := slot{kind: Read, sectors: 1}
	o, ok := judge(&disk, l.header, l.arg)
	if !ok {
		e.counters.Drops.Truncated++
		return
	}
	p.limits.through = c.rungs[c.tried[l.nth%mostTries]].sectors
	e.releaseControl(c)
	e.onHeardFrom(now, p)
	if o.Result != OK {
		// It is there and refuses. Nothing is gained by waiting (H11); the
		// next try is when the timer says.
		e.refusal = o
		e.setPathTrouble(now, p, Refusing, true)
		return
	}
	_, data, _ := frame.ParseATA(l.arg)
	id := ReadIdentity(data)
	silent := p.trouble[Silent].on
	e.setPathTrouble(now, p, Refusing, false)
	e.setPathTrouble(now, p, Silent, false)
	if !p.standby {
		e.setTrouble(now, Dead, false)
	}
	if e.foreign(now, p, id) {
		e.fail(now, p)
		e.setPathTrouble(now, p, Replaced, true)
		e.askAgain(now, p)
		return
	}
	e.setPathTrouble(now, p, Replaced, false)
	if !e.onInstance(now, p, id.Instance, silent) {
		e.setPathTrouble(now, p, ShortFrames, p.seenShort())
		e.askAgain(now, p)
		return
	}
	e.setTrouble(now, Dead, false)
	e.unsynced.told = id.Verifier != 0
	if id.Sectors != e.sectors {
		e.counters.Resizes++
		e.sectors = id.Sectors
	}
	e.setTrouble(now, Shrunk, id.Sectors < e.cfg.Identity.Sectors)
	e.setPathTrouble(now, p, ShortFrames, p.seenShort())
	if p.short() && e.better(p) {
		e.fail(now, p)
		e.askAgain(now, p)
		return
	}
	if c.suspended && p.sampled > 0 {
		e.counters.Redemptions++
	}
	c.proven, c.provenAt, c.revalidate, c.suspended = true, now, false, false
	p.suspect = false
	e.passFences(now, p)
	if p.short() {
		e.askAgain(now, p) // there is no longer way, for now
	} else {
		e.idleControl(now, p)
	}
	e.forgetBackoff(now)
}

// foreign reports whether id is not the disk's. One with the same serial number
// and another size is the disk that was resized (H16) if a path says so that is
// in use; over a path that has not been, it is another until the others agree.
func (e *Engine) foreign(now time.Duration, p *path, id Identity) bool {
	switch {
	case id.Serial != e.cfg.Identity.Serial:
		return true
	case id.Sectors == e.sectors || e.cfg.Paths[p.index].Proven || p.control.proven || !e.otherPath(p):
		return false
	}
	e.identifyOthers(now, p)
	return true
}

// replacedInterval is how often a disk that is not ours is asked whether ours
// is back.
const replacedInterval = time.Second

// askAgain identifies the disk again in a while.
func (e *Engine) askAgain(now time.Duration, p *path) {
	e.idleControl(now, p)
	p.control.revalidate = true
	p.control.due = now + replacedInterval
	e.arm(p.control.due)
}

// forgetBackoff: the target is back, so what it missed is sent soon.
func (e *Engine) forgetBackoff(now time.Duration) {
	for i := e.lost.head; i != 0; i = e.table.slots[i].next {
		e.table.slots[i].backoff = 0
	}
	for i := range e.paths {
		p := &e.paths[i]
		for c := range p.flight {
			for i := p.flight[c].head; i != 0; i = e.table.slots[i].next {
				s := &e.table.slots[i]
				s.backoff = 0
				s.deadline = min(s.deadline, now+e.timeout(p, s.class, 0))
				e.arm(s.deadline)
			}
		}
	}
}
