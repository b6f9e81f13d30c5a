package engine

import (
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
	if id.Serial != e.cfg.Identity.Serial {
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
	for c := range e.path.flight {
		for i := e.path.flight[c].head; i != 0; i = e.table.slots[i].next {
			s := &e.table.slots[i]
			s.backoff = 0
			s.deadline = min(s.deadline, now+e.timeout(s.class, 0))
			e.arm(s.deadline)
		}
	}
}

// replacedInterval is how often a disk that is not ours is asked whether ours
// is back.
const replacedInterval = time.Second
