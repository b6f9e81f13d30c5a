package attach

import (
	"errors"
	"os"
)

// start starts the request that the kernel has for s's tag.
func (q *ublkQueue) start(s *ublkSlot) {
	if q.dropped {
		q.fail(s, errGivenUp)
		return
	}
	d := q.port.desc(s.tag)
	s.offset, s.rest = int64(d.start)*SectorSize, int64(d.sectors)*SectorSize
	s.moved, s.err, s.zeroes = 0, nil, false
	s.data = d.op == ublkOpRead || d.op == ublkOpWrite
	s.sync = d.flags&ublkFUA != 0 && q.info.WriteCache
	switch d.op {
	case ublkOpRead:
		s.kind = Read
		q.stats.reads.Add(1)
	case ublkOpWrite:
		s.kind = Write
		q.stats.writes.Add(1)
	case ublkOpFlush:
		s.kind, s.offset, s.rest, s.sync = Flush, 0, 0, false
		q.stats.flushes.Add(1)
	case ublkOpDiscard:
		s.kind = Trim
		q.stats.trims.Add(1)
	case ublkOpWriteZeroes:
		s.kind, s.zeroes = Write, true
		if q.info.Trim && q.info.TrimZeroes && d.flags&ublkNoUnmap == 0 {
			s.kind, s.zeroes = Trim, false
		}
		q.stats.zeroes.Add(1)
	default:
		q.fail(s, errUblkOp)
		return
	}
	if err := q.check(s, d); err != nil {
		q.fail(s, err)
		return
	}
	s.start()
}

// check refuses what the block layer should not have sent; the disk may have
// shrunk meanwhile (H16).
func (q *ublkQueue) check(s *ublkSlot, d ublkDesc) error {
	if s.kind == Flush {
		return nil
	}
	end := uint64(q.disk.Size()) / SectorSize
	switch {
	case s.rest == 0, d.start > end, uint64(d.sectors) > end-d.start:
		return errBeyond
	case s.kind != Read && q.info.ReadOnly:
		return errReadOnly
	case s.kind == Trim && !q.info.Trim:
		return errUblkOp
	}
	return nil
}

// op is the part of the request that is next.
func (s *ublkSlot) op() Op {
	switch s.kind {
	case Flush:
		return Op{Kind: Flush}
	case Trim:
		s.length = int(min(s.rest, int64(s.q.info.MaxTrim)))
	default:
		s.length = int(min(s.rest, int64(s.q.info.MaxRequest)))
	}
	return Op{Kind: s.kind, Offset: s.offset, Length: s.length}
}

// start has the next part admitted, at once or later.
func (s *ublkSlot) start() {
	q := s.q
	if q.waiting.Load() == 0 {
		if r, ok := q.disk.TryAdmit(s.op()); ok {
			s.request = r
			s.submit()
			return
		}
	}
	q.stats.starved.Add(1)
	q.waiting.Add(1)
	s.phase = ublkStarving
	q.starved <- s // there is room for all
}

// submit starts the admitted part.
func (s *ublkSlot) submit() {
	q := s.q
	if s.kind == Write {
		if s.zeroes {
			clearSegments(s.request.Segments())
		} else if err := q.port.take(s.tag, s.moved, s.request.Segments()); err != nil {
			s.release()
			q.fail(s, err)
			return
		} else {
			q.countCopy(s.length)
		}
	}
	s.phase = ublkInDisk
	s.request.Submit(s.done)
}

func (q *ublkQueue) countCopy(n int) {
	q.stats.copies.Add(1)
	q.stats.copied.Add(uint64(n))
}

// goOn continues with a slot that was handed over: by the admission or by the
// disk.
func (s *ublkSlot) goOn() {
	switch s.phase {
	case ublkStarving:
		if s.err != nil {
			s.q.fail(s, s.err)
			return
		}
		s.submit()
	case ublkInDisk:
		s.partEnded()
	case ublkOrphan:
		s.release()
	}
}

// partEnded is called when the disk has done a part.
func (s *ublkSlot) partEnded() {
	q := s.q
	err := s.request.Err()
	if err == nil && s.kind == Read {
		if err = q.port.give(s.tag, s.moved, s.request.Segments()); err == nil {
			q.countCopy(s.length)
		}
	}
	s.release()
	if err != nil {
		q.fail(s, err)
		return
	}
	if s.kind != Flush {
		s.moved += int64(s.length)
		s.offset += int64(s.length)
		s.rest -= int64(s.length)
	}
	switch {
	case s.rest > 0:
		s.start()
	case s.sync:
		s.sync, s.kind = false, Flush
		s.start()
	case s.data:
		q.commit(s, int32(s.moved))
	default:
		q.commit(s, 0)
	}
}

// release gives back what s holds of the disk.
func (s *ublkSlot) release() {
	if s.request != nil {
		r := s.request
		s.request = nil
		r.Release()
	}
}

func (q *ublkQueue) fail(s *ublkSlot, err error) {
	q.stats.errors.Add(1)
	q.commit(s, -ublkErrno(err))
}

func (q *ublkQueue) commit(s *ublkSlot, result int32) {
	if s.phase != ublkOrphan {
		s.phase = ublkIdle
	}
	q.inHand--
	q.port.commit(s.tag, result)
}

// Error numbers of Linux, as the driver understands them.
const (
	linuxEPERM      = 1
	linuxEIO        = 5
	linuxEOPNOTSUPP = 95
)

// ublkErrno is what the kernel is told of err.
func ublkErrno(err error) int32 {
	switch {
	case errors.Is(err, os.ErrPermission):
		return linuxEPERM
	case errors.Is(err, errors.ErrUnsupported):
		return linuxEOPNOTSUPP
	}
	return linuxEIO
}
