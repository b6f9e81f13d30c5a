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
// has room for all of them. Where the disk's loop accompanies the connection, it
// does the work of the first two itself, but for what has to be waited for; see
// nbdCompany.
type nbdTransmission struct {
	disk       Disk
	info       Info
	flags      uint16 // transmission flags, as negotiated
	structured bool   // structured replies, as negotiated
	stream     *stream
	stats      *nbdCounters
	onThread   func()     // if not nil: called by each goroutine at its start, but by run
	company    nbdCompany // if not nil: what the disk's loop does of all this

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
	t.reader.readAhead(nbdAhead, 0)
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
	if t.company != nil {
		t.company.join()
	}
	err := t.readRequests()
	if err != nil {
		t.giveUp()
	}
	t.nudge()
	// A slot comes back when its reply is written, or would have been. After
	// that nobody is left who could put one into a queue.
	for range t.slots {
		<-t.free
	}
	if t.company != nil {
		t.company.leave()
	}
	close(t.unsynced)
	close(t.finished)
	replies.Wait()
	t.giveUp()
	if t.company != nil {
		t.company.free()
	}
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

// Among writes the disk's loop reads nbdAheadOfWrites bytes ahead as long as their
// data is at most nbdCopied: copying that costs less than a system call for each,
// or several, because clients send a header and its data in two.
const (
	nbdAheadOfWrites = 64 << 10
	nbdCopied        = 8 << 10
)

// An nbdReader is what who reads owns.
type nbdReader struct {
	buf    []byte
	pos, n int // buf[pos:n] is read but not used
	window int // how much of buf may be filled
	copied int // the most data of a write that is read into buf, if more is to follow
	held   []*nbdSlot
}

// readAhead gives it a buffer of n bytes, for the data of writes of at most copied
// bytes too.
func (r *nbdReader) readAhead(n, copied int) {
	r.buf, r.window, r.copied = make([]byte, n), nbdAhead, copied
}

// took tells of a request that was taken out. Behind a write there is another, more
// often than not: if it is long, its data had better be read to where it belongs.
func (r *nbdReader) took(q nbdRequest) {
	switch {
	case q.command != nbdCmdWrite:
		r.window = max(r.window, nbdAhead)
	case int64(q.length) <= int64(r.copied):
		r.window = len(r.buf)
	default:
		r.window = nbdRequestLen
	}
}

// readRequests serves requests until there are no more.
func (t *nbdTransmission) readRequests() error {
	for {
		if t.company != nil {
			if err := t.company.awaitRead(); err != nil {
				return err
			}
		}
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
		if t.company != nil {
			t.company.returnRead()
		}
	}
}

// An nbdCompany is what of a connection the disk's loop does, so that requests are
// not handed from thread to thread: it reads, submits and replies, as long as
// nothing has to be waited for. What has, it leaves to the reader and the writer,
// who give it back when they have done it: reading and writing each belong to one
// of the two at a time.
type nbdCompany interface {
	// join is called when all is ready for the loop's first turn.
	join()
	// awaitRead waits until there is something to read for the reader, and
	// finishes a write of which the loop has read a part.
	awaitRead() error
	// returnRead gives reading back to the loop, if there is one.
	returnRead()
	// writeBehind is what the writer does for the loop. It returns true when the
	// loop has ended and the writer is alone, false when the connection has ended.
	writeBehind() (alone bool)
	// nudge tells the loop of a slot that somebody else has put into a queue.
	nudge()
	// leave takes the connection, which has nothing under way, from the loop.
	leave()
	// free is called last, when nobody uses the socket any more.
	free()
}

// nudge is for whoever puts a slot into the queue of those that are finished, but
// the disk's callbacks and who replies.
func (t *nbdTransmission) nudge() {
	if t.company != nil {
		t.company.nudge()
	}
}

// nextRequest parses the next header, reading as much as there may be at once.
func (t *nbdTransmission) nextRequest() (nbdRequest, error) {
	r := &t.reader
	for r.n-r.pos < nbdRequestLen {
		n, err := t.stream.read(r.room())
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
	if !ok {
		return q, errors.New("attach: NBD request without its magic number")
	}
	r.took(q)
	return q, nil
}

// room is where the next header, and what may be read with it, is to be read to.
func (r *nbdReader) room() []byte {
	r.n = copy(r.buf, r.buf[r.pos:r.n])
	r.pos = 0
	return r.buf[r.n:r.window]
}

// buffered moves what was read ahead into segs, and returns how many bytes.
func (r *nbdReader) buffered(segs [][]byte) (moved int) {
	for _, b := range segs {
		n := copy(b, r.buf[r.pos:r.n])
		r.pos += n
		moved += n
		if n < len(b) {
			break
		}
	}
	return moved
}

// fill reads a write's data into segs, and with it what follows, at least the beginning
// of the next request, if that has arrived: in a stream of writes, one system call each.
func (t *nbdTransmission) fill(segs [][]byte) error {
	r := &t.reader
	skip := r.buffered(segs)
	if r.pos < r.n {
		return nil
	}
	r.pos, r.n = 0, 0
	n, err := t.stream.readFull(segs, skip, r.room())
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
