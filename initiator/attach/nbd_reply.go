package attach

// An nbdWriter is what the writing goroutine owns.
type nbdWriter struct {
	batch  []*nbdSlot
	pieces [][]byte // what to send: headers, and data where the disk left it
}

// Replies that are ready are sent together, up to a bound: the data of all of
// them is given back only after the last byte is sent.
const nbdBatchBytes = 256 << 10

func (w *nbdWriter) prepare(slots int) {
	w.batch = make([]*nbdSlot, 0, slots)
	w.pieces = make([][]byte, 0, 2*maxPiecesHint)
}

// maxPiecesHint is room for the pieces of usual replies; the slice grows for
// longer ones, once.
const maxPiecesHint = 1024

// writeReplies sends replies until the queue is closed, and gives slots back.
// When the connection is broken it only gives back.
func (t *nbdTransmission) writeReplies() {
	if t.onThread != nil {
		t.onThread()
	}
	if t.company != nil && !t.company.writeBehind() {
		return
	}
	for s := range t.finished {
		t.collect(s)
		t.sendBatch(0)
	}
}

// collect makes a batch of s and what else is ready.
func (t *nbdTransmission) collect(s *nbdSlot) {
	w := &t.writer
	w.batch = append(w.batch[:0], s)
	w.pieces = t.appendReply(w.pieces[:0], s)
	t.gather(segmentBytes(w.pieces))
	if len(w.pieces) > 0 {
		t.stats.writes.Add(1)
	}
}

// sendBatch sends the batch, but for the first skip bytes, which are sent, and
// gives it back. It waits for the client to take it.
func (t *nbdTransmission) sendBatch(skip int) {
	if w := &t.writer; len(w.pieces) > 0 && !t.broken.Load() {
		if err := t.stream.writeAll(w.pieces, skip); err != nil {
			t.giveUp()
		}
	}
	t.giveBackBatch()
}

func (t *nbdTransmission) giveBackBatch() {
	w := &t.writer
	clear(w.pieces)
	for _, s := range w.batch {
		t.giveBack(s)
	}
}

// gather adds what else is ready to a batch that has n bytes already.
func (t *nbdTransmission) gather(n int) {
	w := &t.writer
	for n < nbdBatchBytes {
		select {
		case s, ok := <-t.finished:
			if !ok {
				return
			}
			w.batch = append(w.batch, s)
			before := len(w.pieces)
			w.pieces = t.appendReply(w.pieces, s)
			n += segmentBytes(w.pieces[before:])
		default:
			return
		}
	}
}

// appendReply appends the pieces of what s has to tell.
func (t *nbdTransmission) appendReply(pieces [][]byte, s *nbdSlot) [][]byte {
	e := nbdErrno(s.errno.Load())
	if e != 0 && s.form != nbdPart {
		t.stats.errors.Add(1)
	}
	head := s.head[:0]
	isRead := s.command == nbdCmdRead
	switch {
	case s.form == nbdPart && e != 0:
		s.parent.fail(e) // told by the last chunk
		return pieces
	case s.form == nbdContinue && e != 0:
		return pieces // the reader breaks the connection
	case s.form == nbdContinue:
	case s.form == nbdPart:
		head = appendNBDOffsetData(head, 0, s.cookie, s.offset, s.length)
	case isRead && t.structured && e != 0:
		head = appendNBDError(head, e, s.cookie)
	case s.form == nbdEnd:
		head = appendNBDChunk(head, nbdChunkDone, nbdChunkNone, s.cookie, 0)
	case isRead && t.structured:
		head = appendNBDOffsetData(head, nbdChunkDone, s.cookie, s.offset, s.length)
	default:
		// "MAY use either a simple reply or a structured reply to all other
		// requests" ("Structured reply chunk message")
		head = appendNBDSimple(head, e, s.cookie)
	}
	if len(head) > 0 {
		pieces = append(pieces, head)
	}
	if isRead && e == 0 && s.request != nil {
		pieces = append(pieces, s.request.Segments()...)
	}
	return pieces
}

// giveBack releases what s holds, then s itself, and only then lets a parent
// go on, which may be sent next.
func (t *nbdTransmission) giveBack(s *nbdSlot) {
	if s.request != nil {
		s.request.Release()
		s.request = nil
	}
	parent := s.parent
	s.parent = nil
	t.free <- s
	if parent != nil {
		parent.partEnded()
	}
}
