package engine

import (
	"time"

	"aoe/frame"
)

// How much data a frame may carry is agreed on at the start: requests are cut
// into frames of that length, each with the buffers that it needs. It can change:
// a switch is replaced, a port or the target gets another MTU. Then a path
// carries less than a frame, for the time being, and a frame is sent over it as
// several, one after the other: a part, made in a buffer of the engine's when it
// is sent, and when that is answered the next. So it takes no memory that was not
// there from the beginning, and nothing that was submitted gets lost.
//
// What gets through is found out by IDENTIFY requests of ever shorter length,
// when longer ones are not answered, and found out anew every second until the
// longest get through again.

// A rung is a length that is tried.
type rung struct {
	sectors uint64
	len     int // of the frame
}

// maxRungs is how many there can be: 255 sectors halved to 1, and none.
const maxRungs = 10

// ladder is the lengths to try, longest first, down to a frame without data.
func ladder(full uint64) (rungs []rung) {
	for n := full; n > 0; n = shorter(n) {
		rungs = append(rungs, rung{n, frame.ATADataOffset + int(n)*frame.SectorSize})
	}
	return append(rungs, rung{0, frame.MinLen})
}

// pageSectors is how many sectors should stay together (H21).
const pageSectors = 8

// shorter is what is tried after n sectors: half of it, in whole pages if it has
// any and else a power of two; 0 after 1.
func shorter(n uint64) uint64 {
	n /= 2
	if n >= pageSectors {
		return n / pageSectors * pageSectors
	}
	p := uint64(0)
	for k := uint64(1); k <= n; k *= 2 {
		p = k
	}
	return p
}

// A limits is how many sectors a frame over a path may have, by three bounds.
type limits struct {
	full    uint64 // as agreed; 0: not known, and nothing is ever cut
	through uint64 // seen to get through
	fits    uint64 // our port's MTU
	told    uint64 // what the target takes
}

func newLimits(full uint64) limits { return limits{full, full, full, full} }

// most is the longest frame that is sent over p.
func (p *path) most() uint64 {
	l := &p.limits
	if l.full == 0 {
		return 255
	}
	return max(min(l.full, l.through, l.fits, l.told), 1)
}

// short reports whether p carries less than was agreed.
func (p *path) short() bool { return p.limits.full > 0 && p.most() < p.limits.full }

// seenShort is short for another reason than our port's MTU.
func (p *path) seenShort() bool {
	return min(p.limits.through, p.limits.told) < min(p.limits.full, p.limits.fits)
}

// better reports whether a path in use carries longer frames than p.
func (e *Engine) better(p *path) bool {
	for i := range e.paths {
		if q := &e.paths[i]; q != p && q.usable() && q.most() > p.most() {
			return true
		}
	}
	return false
}

// pieces is how many frames may be in flight while any are sent in parts: so
// many buffers there are for them. What one turn sends must be in different
// ones.
const pieces = 64

// A workshop is where parts are made.
type workshop struct {
	buffers [][]byte
	next    int
	cut     int       // frames that are sent in parts and not finished
	waiting frameList // of them, those whose next part is to be sent
}

func newWorkshop(full uint64) (w workshop) {
	if full < 2 {
		return w // nothing is cut
	}
	size := max(frame.ATADataOffset+int(full-1)*frame.SectorSize, frame.MinLen)
	w.buffers = make([][]byte, pieces)
	backing := make([]byte, pieces*size)
	for i := range w.buffers {
		w.buffers[i] = backing[i*size:][:0:size]
	}
	return w
}

// limit is how many frames may be in flight.
func (e *Engine) limit() int {
	n := e.window.limit()
	if e.parts.cut > 0 {
		return min(n, pieces)
	}
	for i := range e.paths {
		if e.paths[i].short() {
			return min(n, pieces)
		}
	}
	return n
}

// divisible reports whether a frame of kind k can be sent in parts.
func (k Kind) divisible() bool { return k == Read || k == Write }

// begin gives what is left of f, or as much of it as p carries, a slot.
func (e *Engine) begin(f *Frame, p *path) int32 {
	i := e.table.take()
	s, r := &e.table.slots[i], f.req
	s.kind, s.class, s.command = r.Kind, r.Kind.class(), commandATA
	s.req, s.index = r, f.index
	s.lba, s.sectors = f.LBA+f.part, f.Sectors-f.part
	if r.Kind.divisible() {
		s.sectors = min(s.sectors, p.most())
	}
	if s.sectors < f.Sectors && !f.cut {
		f.cut = true
		e.parts.cut++
		e.counters.Cut++
	}
	f.slot = i
	return i
}

// recut takes back slot i, which was lost and is too long for the path it is to
// be sent over: it is sent in parts.
func (e *Engine) recut(now time.Duration, i int32) {
	s := &e.table.slots[i]
	f := &s.req.Frames[s.index]
	f.slot = 0
	e.retire(now, i)
	e.parts.waiting.push(f)
}

// encoded is the frame that slot i stands for: as it was submitted, or a part.
func (e *Engine) encoded(s *slot) []byte {
	f := &s.req.Frames[s.index]
	if s.sectors == f.Sectors || !s.kind.divisible() {
		return f.Transmit
	}
	b := e.parts.buffers[e.parts.next][:0]
	e.parts.next = (e.parts.next + 1) % pieces
	whole, data, _ := frame.ParseATA(f.Transmit[frame.HeaderLen:]) // the owner has encoded it
	b = append(b, f.Transmit[:frame.HeaderLen]...)
	b = frame.NewATA(whole.Op, s.lba, uint8(s.sectors)).Append(b)
	if s.kind == Write {
		b = append(b, data[(s.lba-f.LBA)*frame.SectorSize:][:s.sectors*frame.SectorSize]...)
	}
	return frame.Pad(b)
}

// drop forgets that parts of f were to be sent.
func (e *Engine) drop(f *Frame) {
	if f.listed {
		e.parts.waiting.remove(f)
	}
	if f.cut {
		f.cut = false
		e.parts.cut--
	}
}

// onTooLong: the target took a frame of that many sectors for nonsense. One
// whose MTU has become smaller says so to what was asked before that was known;
// it is asked what it takes, and the frame sent in parts. A frame of one sector
// that it refuses, it refuses.
func (e *Engine) onTooLong(now time.Duration, p *path, sectors uint64) bool {
	if p.limits.full == 0 || sectors < 2 {
		return false
	}
	e.counters.Refused++
	p.limits.through = min(p.limits.through, shorter(sectors))
	e.setPathTrouble(now, p, ShortFrames, true)
	p.control.revalidate = true
	p.control.ask(now)
	if e.better(p) {
		e.fail(now, p)
	}
	return true
}

// A frameList is a list of frames.
type frameList struct{ head, tail *Frame }

func (l *frameList) push(f *Frame) {
	f.prev, f.next, f.listed = l.tail, nil, true
	if l.tail == nil {
		l.head = f
	} else {
		l.tail.next = f
	}
	l.tail = f
}

func (l *frameList) remove(f *Frame) {
	if f.prev == nil {
		l.head = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		l.tail = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.prev, f.next, f.listed = nil, nil, false
}
