package attach

import "sync/atomic"

// An nbdSlot is one request in flight, or one part of a long read.
type nbdSlot struct {
	t *nbdTransmission
	nbdRequest
	form nbdForm

	request Request // of a read: kept until its data is sent
	parent  *nbdSlot
	errno   atomic.Uint32 // the first error
	parts   atomic.Int32  // of a request in parts: those under way, and one while more may come
	synced  bool          // nothing to be flushed behind it

	head [nbdChunkLen + nbdOffsetLen]byte // of the reply

	// Callbacks for the disk, made once.
	readDone func(Request)
	partDone func(Request)
}

// An nbdForm is how a slot's outcome is told to the client.
type nbdForm uint8

const (
	nbdReply    nbdForm = iota // a whole reply
	nbdPart                    // a chunk of the parent's structured reply
	nbdEnd                     // the last chunk of a structured reply in parts
	nbdContinue                // more data of a simple reply whose header is sent
)

func (s *nbdSlot) prepare(t *nbdTransmission) {
	s.t = t
	s.readDone = func(r Request) {
		s.fail(nbdErrnoOf(r.Err()))
		t.finished <- s
	}
	s.partDone = func(r Request) {
		s.fail(nbdErrnoOf(r.Err()))
		r.Release()
		s.partEnded()
	}
}

func (s *nbdSlot) begin(q nbdRequest) {
	s.nbdRequest = q
	s.form = nbdReply
	s.parent = nil
	s.errno.Store(0)
	s.parts.Store(1)
	s.synced = q.flags&nbdFlagFUA == 0 || !s.t.info.WriteCache
}

// fail records e, unless there is an error already.
func (s *nbdSlot) fail(e nbdErrno) {
	if e != 0 {
		s.errno.CompareAndSwap(0, uint32(e))
	}
}

// partEnded counts a part that has ended, or that no more will come. The last
// one sends the slot on.
func (s *nbdSlot) partEnded() {
	if s.parts.Add(-1) > 0 {
		return
	}
	if !s.synced && s.errno.Load() == 0 {
		s.t.unsynced <- s
		return
	}
	s.t.finished <- s
}

// serve starts the request in s. An error means that the connection is of no
// more use; what the client did wrong within the protocol is answered.
func (t *nbdTransmission) serve(s *nbdSlot) error {
	if e := t.check(s.nbdRequest); e != 0 {
		s.fail(e)
		s.synced = true
		length, payload := int(s.length), s.command == nbdCmdWrite
		s.partEnded() // s is the writer's now
		t.nudge()
		if payload {
			return t.refuse(length)
		}
		return nil
	}
	t.stats.requests[s.command].Add(1)
	switch s.command {
	case nbdCmdRead:
		switch {
		case int(s.length) <= t.info.MaxRequest:
			t.read(s)
		case t.structured:
			t.readChunks(s)
		default:
			return t.readWhole(s)
		}
	case nbdCmdWrite:
		return t.write(s)
	case nbdCmdFlush:
		s.synced = true
		t.parts(s, Flush, 0)
	case nbdCmdTrim:
		t.parts(s, Trim, t.info.MaxTrim)
	case nbdCmdWriteZeroes:
		if t.info.Trim && t.info.TrimZeroes && s.flags&nbdFlagNoHole == 0 {
			t.parts(s, Trim, t.info.MaxTrim)
		} else {
			t.parts(s, Write, t.info.MaxRequest)
		}
	}
	return nil
}

// refuse skips the data of a write that was answered with an error, unless it
// is so long that reading it would only waste everybody's time.
func (t *nbdTransmission) refuse(length int) error {
	if length > nbdMaxPayload {
		return errNBDPayload
	}
	return t.discard(length)
}

// read serves a read that fits in one request of the disk.
func (t *nbdTransmission) read(s *nbdSlot) {
	r, err := t.disk.Admit(t.ctx, Op{Kind: Read, Offset: int64(s.offset), Length: int(s.length)})
	if err != nil {
		s.fail(nbdErrnoOf(err))
		t.finished <- s
		t.nudge()
		return
	}
	s.request = r
	r.Submit(s.readDone)
}

// readChunks serves a read that is too long for one request of the disk: each
// part is a chunk of the reply, and given back when it is sent. They are in
// flight together, as far as slots and admission allow.
func (t *nbdTransmission) readChunks(s *nbdSlot) {
	s.form = nbdEnd
	s.synced = true
	q := s.nbdRequest
	for rest := int(q.length); rest > 0 && s.errno.Load() == 0 && !t.broken.Load(); {
		part := q
		part.length = uint32(min(rest, t.info.MaxRequest))
		c := <-t.free
		c.begin(part)
		c.form, c.parent = nbdPart, s
		s.parts.Add(1)
		t.read(c)
		q.offset += uint64(part.length)
		rest -= int(part.length)
	}
	s.partEnded()
}

// readWhole serves a long read for a client that does not know chunks. Its
// data must be sent in one piece, and while it is, no other reply can be, so
// waiting for the next part's admission while other replies wait with their
// data would be to hold and wait. So it is done alone: when everything else on
// this connection is answered, one part after the other.
func (t *nbdTransmission) readWhole(s *nbdSlot) error {
	for len(t.reader.held) < len(t.slots)-1 {
		t.reader.held = append(t.reader.held, <-t.free)
	}
	err := t.readPieces(s)
	for _, h := range t.reader.held {
		t.free <- h
	}
	t.reader.held = t.reader.held[:0]
	return err
}

func (t *nbdTransmission) readPieces(s *nbdSlot) error {
	rest := int(s.length)
	for q := s.nbdRequest; ; {
		q.length = uint32(min(rest, t.info.MaxRequest))
		s.nbdRequest = q
		t.read(s)
		<-t.free // it can only be s: all others are held
		rest -= int(q.length)
		failed := s.errno.Load() != 0
		if failed && s.form == nbdContinue {
			// "If an error occurs while reading after the server has already
			// sent out the reply header ..., the server MUST immediately
			// initiate a hard disconnect" ("Request types").
			t.free <- s
			return errNBDMidReply
		}
		if failed || rest == 0 || t.broken.Load() {
			t.free <- s
			return nil
		}
		q.offset += uint64(q.length)
		s.form = nbdContinue
	}
}

// write serves a write, in parts if it must be. Each part is admitted, filled
// from the socket, submitted, and given back when it has ended.
func (t *nbdTransmission) write(s *nbdSlot) error {
	offset, rest := int64(s.offset), int(s.length)
	for rest > 0 {
		n := min(rest, t.info.MaxRequest)
		r, err := t.disk.Admit(t.ctx, Op{Kind: Write, Offset: offset, Length: n})
		if err != nil {
			s.fail(nbdErrnoOf(err))
			s.partEnded()
			return t.discard(rest)
		}
		if err := t.fill(r.Segments()); err != nil {
			r.Release()
			s.fail(nbdEIO)
			s.partEnded()
			return err
		}
		s.parts.Add(1)
		r.Submit(s.partDone)
		offset += int64(n)
		rest -= n
	}
	s.partEnded()
	return nil
}

// parts serves a request without data: trim, zeroes, and flush, which has one
// part of no length.
func (t *nbdTransmission) parts(s *nbdSlot, kind Kind, longest int) {
	offset, rest := int64(s.offset), int64(s.length)
	for {
		n := int(min(rest, int64(longest)))
		r, err := t.disk.Admit(t.ctx, Op{Kind: kind, Offset: offset, Length: n})
		if err != nil {
			s.fail(nbdErrnoOf(err))
			break
		}
		if kind == Write {
			clearSegments(r.Segments())
		}
		s.parts.Add(1)
		r.Submit(s.partDone)
		offset += int64(n)
		rest -= int64(n)
		if rest == 0 || s.errno.Load() != 0 {
			break
		}
	}
	s.partEnded()
}

// flushBehind flushes after writes that the client wants on stable storage. It
// is a goroutine of its own because it waits for admission: the writer must
// not, and the callbacks cannot.
func (t *nbdTransmission) flushBehind() {
	if t.onThread != nil {
		t.onThread()
	}
	for s := range t.unsynced {
		s.synced = true
		s.parts.Store(1)
		r, err := t.disk.Admit(t.ctx, Op{Kind: Flush})
		if err != nil {
			s.fail(nbdErrnoOf(err))
			s.partEnded()
			t.nudge()
			continue
		}
		r.Submit(s.partDone)
	}
}
