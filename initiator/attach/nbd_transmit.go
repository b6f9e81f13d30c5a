package attach

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// nbdMaxPayload is the longest payload of a request, in bytes: the maximum
// that is told, and what clients that do not ask may use (2^25, "Size
// constraints"). Longer than the disk's MaxRequest means several parts.
const nbdMaxPayload = 1 << 25

// An nbdTransmission is the transmission phase on one connection: what is left
// of NBD when client and server agree, which is also all that the kernel's
// client needs on its socket pair.
//
// Three goroutines serve a connection, however many requests are in flight:
// the reader parses requests, has them admitted and submits them; the writer
// sends replies, as many at once as are ready; and if the disk has a write
// cache, a third flushes behind writes with the FUA flag. Requests live in a
// fixed number of slots. The disk's callbacks only put slots into a queue that
// has room for all of them.
type nbdTransmission struct {
	disk       Disk
	info       Info
	flags      uint16 // transmission flags, as negotiated
	structured bool   // structured replies, as negotiated
	stream     *stream
	stats      *nbdCounters
	onThread   func() // if not nil: called by each goroutine at its start, but by run

	saidGoodbye atomic.Bool // the client sent NBD_CMD_DISC

	ctx    context.Context // ends when the connection is given up
	cancel context.CancelFunc
	broken atomic.Bool // nothing more can be sent

	free     chan *nbdSlot // slots without a request
	finished chan *nbdSlot // for the writer
	unsynced chan *nbdSlot // for flushBehind

	reader nbdReader
	writer nbdWriter
	slots  []nbdSlot
}

// errNBDGone is how a connection ends whose client closes it between requests
// without saying goodbye.
var errNBDGone = errors.New("attach: NBD client went away")

// newNBDTransmission takes ownership of s. All memory that requests need is
// allocated here. At least two requests can be in flight: one that was split
// into parts, and a part.
func newNBDTransmission(disk Disk, info Info, s *stream, inFlight int, stats *nbdCounters) *nbdTransmission {
	inFlight = max(inFlight, 2)
	t := &nbdTransmission{
		disk: disk, info: info, flags: nbdFlagsOf(info), stream: s, stats: stats,
		free:     make(chan *nbdSlot, inFlight),
		finished: make(chan *nbdSlot, inFlight),
		unsynced: make(chan *nbdSlot, inFlight),
		slots:    make([]nbdSlot, inFlight),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.reader.held = make([]*nbdSlot, 0, inFlight)
	t.writer.prepare(inFlight)
	for i := range t.slots {
		t.slots[i].prepare(t)
		t.free <- &t.slots[i]
	}
	return t
}

// run serves until the client disconnects (nil), goes away or breaks the
// protocol, or giveUp is called. When it returns, every request has ended and
// everything is given back to the disk.
func (t *nbdTransmission) run() error {
	var replies sync.WaitGroup
	replies.Go(t.writeReplies)
	if t.info.WriteCache {
		replies.Go(t.flushBehind)
	}
	err := t.readRequests()
	if err != nil {
		t.giveUp()
	}
	// A slot comes back when its reply is written, or would have been. After
	// that nobody is left who could put one into a queue.
	for range t.slots {
		<-t.free
	}
	close(t.unsynced)
	close(t.finished)
	replies.Wait()
	t.giveUp()
	return err
}

// giveUp ends the connection without ceremony. Requests that are in flight
// still end, without reply.
func (t *nbdTransmission) giveUp() {
	t.broken.Store(true)
	t.cancel()
	t.stream.close()
}

// nbdAhead is how far requests are read ahead, in bytes: enough that a client
// that only reads needs few system calls.
const nbdAhead = 32 * nbdRequestLen

// An nbdReader is what the reading goroutine owns.
type nbdReader struct {
	buf        [nbdAhead]byte
	pos, n     int  // buf[pos:n] is read but not used
	afterWrite bool // so expect another one: do not read its data into buf
	held       []*nbdSlot
}

// readRequests serves requests until there are no more.
func (t *nbdTransmission) readRequests() error {
	for {
		q, err := t.nextRequest()
		if err != nil {
			return err
		}
		if q.command == nbdCmdDisconnect {
			t.saidGoodbye.Store(true)
			return nil
		}
		s := <-t.free
		s.begin(q)
		if err := t.serve(s); err != nil {
			return err
		}
	}
}

// nextRequest parses the next header, reading as many as there are at once,
// except among writes: their data is to be read to where it belongs.
func (t *nbdTransmission) nextRequest() (nbdRequest, error) {
	r := &t.reader
	for r.n-r.pos < nbdRequestLen {
		r.n = copy(r.buf[:], r.buf[r.pos:r.n])
		r.pos = 0
		limit := len(r.buf)
		if r.afterWrite {
			limit = nbdRequestLen
		}
		n, err := t.stream.read(r.buf[r.n:limit])
		if err == io.EOF && r.n == 0 {
			err = errNBDGone
		}
		if err != nil {
			return nbdRequest{}, err
		}
		r.n += n
	}
	q, ok := parseNBDRequest(r.buf[r.pos:])
	r.pos += nbdRequestLen
	r.afterWrite = q.command == nbdCmdWrite
	if !ok {
		return q, errors.New("attach: NBD request without its magic number")
	}
	return q, nil
}

// fill reads a write's data into segs, and with it the beginning of the next
// request if that has arrived: in a stream of writes, one system call each.
func (t *nbdTransmission) fill(segs [][]byte) error {
	r := &t.reader
	skip := 0
	for _, b := range segs {
		n := copy(b, r.buf[r.pos:r.n])
		r.pos += n
		skip += n
		if n < len(b) {
			break
		}
	}
	if r.pos < r.n {
		return nil
	}
	r.pos, r.n = 0, 0
	n, err := t.stream.readFull(segs, skip, r.buf[:nbdRequestLen])
	r.n = n
	return err
}

// discard reads n bytes of data that nobody wants.
func (t *nbdTransmission) discard(n int) error {
	r := &t.reader
	for {
		k := min(n, r.n-r.pos)
		r.pos += k
		n -= k
		if n == 0 {
			return nil
		}
		// Never more than what is unwanted: what follows is a header.
		k, err := t.stream.read(r.buf[:min(n, len(r.buf))])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		r.pos, r.n = 0, k
	}
}

// nbdFlagsOf are the transmission flags for a disk.
func nbdFlagsOf(in Info) uint16 {
	// A flush on any connection covers what was acknowledged on all of them:
	// there is nothing between a client and the disk that could hold it back.
	flags := uint16(nbdHasFlags | nbdSendFlush | nbdSendFUA | nbdCanMultiConn)
	if in.ReadOnly {
		return flags | nbdReadOnly
	}
	flags |= nbdSendWriteZeroes
	if in.Trim {
		flags |= nbdSendTrim
		if in.TrimZeroes {
			flags |= nbdSendFastZero
		}
	}
	return flags
}
