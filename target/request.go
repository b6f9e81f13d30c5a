package target

import (
	"time"

	"aoe/frame"
)

// A request is one disk's share of a frame, from when it was admitted until it
// is answered. It is owned by who carries it out: the receive goroutine of its
// port, or, once it is held, a worker. Fields that order it belong to the disk
// and its lock.
type request struct {
	claim

	// A held request's own buffer: the frame arrived in it and the answer
	// leaves in it. It is always of full length.
	buf    []byte
	answer []byte // in buf, when it is ready
	err    error  // of the store

	// Guarded by disk.mu.
	index    int // in disk.active
	blockers int // active requests that must be carried out before
	held     bool
}

// A claim is what is known of a request before it is carried out. It is copied
// when the request is held.
type claim struct {
	port *port
	mac  frame.MAC // of the port, the sender of the answer
	src  frame.MAC
	tag  uint32
	n    int // length of the frame as it arrived
	what kind
	ata  frame.ATA

	sectors uint8 // that a frame of the port holds, for the answer to an edit

	// from and to bound the sectors that it reads or changes: from <= s < to.
	// They are equal for what touches none.
	from, to uint64
	changes  bool
	arrived  time.Time
	digest   uint64 // of what it says, if it changes something; see recent
	seq      uint64 // order of arrival; guarded by disk.mu
}

// kind is what is to be done for a request.
type kind uint8

const (
	doRead kind = iota
	doWrite
	doFlush
	doTrim
	doEdit     // of the config string, mask or reserve list, kept by a Keeper
	doIdentify // this and what follows is answered at once
	doPower
	doAbort
)

// conflicts reports whether a and b may not be carried out in any order.
// Flushes conflict with nothing: they promise something of writes that were
// answered, and an initiator that has not got the answer was promised nothing.
func (a *claim) conflicts(b *claim) bool {
	if a.what == doEdit || b.what == doEdit {
		return a.what == b.what
	}
	return (a.changes || b.changes) && a.from < b.to && b.from < a.to
}

// data is where the sectors of a read or write are in the frame in b.
func (a *claim) data(b []byte) []byte {
	return b[frame.ATADataOffset:][:int(a.ata.Count)*frame.SectorSize]
}

// An outcome is how a request ended, as ATA says it.
type outcome struct {
	status uint8
	error  uint8
}

var (
	succeeded    = outcome{frame.StatusDRDY, 0}
	aborted      = outcome{frame.StatusDRDY | frame.StatusErr, frame.ErrorABRT}
	notFound     = outcome{frame.StatusDRDY | frame.StatusErr, frame.ErrorIDNF}
	uncorrected  = outcome{frame.StatusDRDY | frame.StatusErr, frame.ErrorUNC}
	deviceFailed = outcome{frame.StatusDRDY | frame.StatusErr | frame.StatusDF, frame.ErrorABRT}
)

// powerActive is the answer to CHECK POWER MODE in the count register: active or
// idle, not asleep (ATA8-ACS).
const powerActive = 0xff

// answerATA makes of the request in b the response with outcome o, and returns
// it. How long it is follows from the opcode and the outcome, never from the W
// flag or the length of the request: what stands behind the data in the buffer
// may be anything.
func (a *claim) answerATA(b []byte, own frame.Addr, o outcome) []byte {
	frame.Reply(b, a.mac, own)
	remaining := uint8(0)
	switch {
	case a.what == doPower:
		remaining = powerActive
	case o != succeeded && a.what != doFlush:
		remaining = a.ata.Count
	}
	frame.PutResult(b, o.status, o.error, remaining)
	n := frame.ATADataOffset
	if a.ata.Op.IsRead() && o == succeeded {
		n += int(a.ata.Count) * frame.SectorSize
	}
	return frame.Pad(b[:n])
}

// answerATA is that of the claim, with the verifier in what acknowledges something
// that may be forgotten, and in that to a flush, which says what was not (H17).
func (d *disk) answerATA(c *claim, b []byte, o outcome) []byte {
	b = c.answerATA(b, d.addr, o)
	if o == succeeded && (c.what == doFlush || c.changes && !d.mode.answersSynced()) {
		frame.PutVerifier(b, d.verifier)
	}
	return b
}
