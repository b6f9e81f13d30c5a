package attach

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An nbdCompanion is the nbdCompany of one connection. What it owns, and who has
// reading and writing, is the loop's; the other side gives back by a flag and a
// nudge, and gets by a channel with room for the one that there is.
type nbdCompanion struct {
	t     *nbdTransmission
	disk  accompanied
	conn  *polledConn
	stall *time.Timer // ends a connection that stops in the middle of a write; nil: never

	reads, writes  bool // whether the loop does
	missed         bool // there may be something to read of which nothing will tell again
	half           nbdHalf
	short          bool        // the last read found less than it had room for
	readBack       atomic.Bool // the reader gives reading back
	writeBack      atomic.Bool // the writer gives writing back
	leaving, alone atomic.Bool

	toRead  chan struct{}
	toWrite chan int // how much of the batch is sent
	left    chan struct{}
}

// An nbdHalf is a write of which a part is read.
type nbdHalf struct {
	s    *nbdSlot // nil: there is none
	r    Request
	read int
}

// accompany has the disk's loop look after conn's transmission, which it takes
// over, if the disk has such a loop.
func (t *nbdTransmission) accompany(conn *net.UnixConn, stall time.Duration) error {
	disk := t.accompanied()
	if disk == nil {
		return nil
	}
	fd, err := takeSocket(conn)
	if err != nil {
		return err
	}
	growSendBuffer(fd)
	t.join(disk, fd, stall)
	return nil
}

// accompanyPair is accompany for our end of a pair whose other end the kernel has. It
// keeps a send buffer of the usual size: what is in it is memory that others want.
func (t *nbdTransmission) accompanyPair(fd int) error {
	disk := t.accompanied()
	if disk == nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("attach: socketpair: %w", err)
	}
	t.join(disk, fd, -1)
	return nil
}

// accompanied is the disk if its loop takes companions, or nil.
func (t *nbdTransmission) accompanied() accompanied {
	disk, ok := t.disk.(accompanied)
	if !ok || !disk.Accompanies() {
		return nil
	}
	return disk
}

// join makes the disk's loop look after the socket, from run on.
func (t *nbdTransmission) join(disk accompanied, fd int, stall time.Duration) {
	s, polled := newPolledStream(fd, stall)
	c := &nbdCompanion{
		t: t, disk: disk, conn: polled, reads: true, writes: true, missed: true,
		toRead: make(chan struct{}, 1), toWrite: make(chan int, 1), left: make(chan struct{}),
	}
	if stall >= 0 {
		c.stall = time.AfterFunc(stall, t.giveUp)
		c.stall.Stop()
	}
	t.reader.readAhead(nbdAheadOfWrites, nbdCopied)
	t.stream, t.company = s, c
}

// join implements nbdCompany.
func (c *nbdCompanion) join() {
	if c.disk.Accompany(c.conn.fd, c) != nil {
		c.End() // closed meanwhile, for instance
	}
}

// Turn implements initiator.Companion.
func (c *nbdCompanion) Turn(heard bool) bool {
	if c.leaving.Load() {
		close(c.left)
		return false
	}
	if c.readBack.Load() && c.readBack.Swap(false) {
		c.reads, c.missed = true, true
	}
	if c.writeBack.Load() && c.writeBack.Swap(false) {
		c.writes = true
	}
	if c.writes {
		c.reply()
	}
	if heard {
		c.missed = true
	}
	// While requests are under way the client may send more at any time, and a
	// busy link does not look who else has something to say.
	if c.reads && (c.missed || c.underWay()) {
		c.read()
	}
	return true
}

// End implements initiator.Companion: reader and writer go on alone.
func (c *nbdCompanion) End() {
	c.alone.Store(true)
	if c.readBack.Swap(false) || c.reads {
		c.toRead <- struct{}{}
	}
	if c.writeBack.Swap(false) || c.writes {
		c.toWrite <- nothingBegun
	}
	close(c.left)
}

// nothingBegun is told to the writer in place of a batch.
const nothingBegun = -1

// reply sends what is ready, in as few calls as batches.
func (c *nbdCompanion) reply() {
	t := c.t
	for len(t.finished) > 0 {
		t.collect(<-t.finished)
		total, sent := segmentBytes(t.writer.pieces), 0
		if total > 0 && !t.broken.Load() {
			var err error
			if sent, err = t.stream.tryWrite(t.writer.pieces); err != nil {
				t.giveUp()
				sent = total
			}
		} else {
			sent = total
		}
		if sent < total {
			c.writes = false
			c.toWrite <- sent
			return
		}
		t.giveBackBatch()
	}
}

// underWay reports whether there are requests, which means that turns will follow.
func (c *nbdCompanion) underWay() bool { return len(c.t.free) < cap(c.t.free) }

// read serves requests until there are no more, or there is one to be waited for.
// It has to find nothing before it relies on being told: news are told once, and
// that the client has hung up may be behind what was read (epoll(7), "Level-triggered
// and edge-triggered"). While a request is under way that may be later.
func (c *nbdCompanion) read() {
	r := &c.t.reader
	c.missed, c.short = false, false
	for {
		switch {
		case c.half.s != nil:
			if !c.fill() {
				return
			}
		case r.n-r.pos >= nbdRequestLen:
			if !c.begin() {
				return
			}
		case c.short && c.underWay():
			c.missed = true
			return
		default:
			into := r.room()
			n, err := c.t.stream.tryFill(nil, 0, into)
			if err != nil {
				c.passRead() // who will find the same
				return
			}
			if n == 0 {
				return
			}
			r.n += n
			c.short = n < len(into)
		}
	}
}

// begin starts the next request, if it is one that needs nothing to be waited for.
func (c *nbdCompanion) begin() bool {
	t, r := c.t, &c.t.reader
	q, ok := parseNBDRequest(r.buf[r.pos:])
	short := ok && (q.command == nbdCmdRead || q.command == nbdCmdWrite) && int64(q.length) <= int64(t.info.MaxRequest)
	if !short || t.check(q) != 0 {
		c.passRead()
		return false
	}
	var s *nbdSlot
	select {
	case s = <-t.free:
	default:
		c.missed = true // when one comes back, there is a turn
		return false
	}
	kind := Read
	if q.command == nbdCmdWrite {
		kind = Write
	}
	request, ok := t.disk.TryAdmit(Op{Kind: kind, Offset: int64(q.offset), Length: int(q.length)})
	if !ok {
		t.free <- s
		c.passRead()
		return false
	}
	r.pos += nbdRequestLen
	r.took(q)
	t.stats.requests[q.command].Add(1)
	s.begin(q)
	if kind == Write {
		c.half = nbdHalf{s, request, r.buffered(request.Segments())}
		return true
	}
	s.request = request
	request.Submit(s.readDone)
	return true
}

// fill goes on reading a write's data, and submits it when that is all there.
func (c *nbdCompanion) fill() bool {
	h, r := &c.half, &c.t.reader
	length := int(h.s.length)
	for h.read < length {
		r.pos, r.n = 0, 0
		behind := r.room()
		n, err := c.t.stream.tryFill(h.r.Segments(), h.read, behind)
		if err != nil {
			c.passRead()
			return false
		}
		if n == 0 {
			if c.stall != nil {
				c.stall.Reset(c.t.stream.stall)
			}
			return false
		}
		c.short = n < length-h.read+len(behind)
		h.read += n
		r.n = max(h.read-length, 0)
	}
	if c.stall != nil {
		c.stall.Stop()
	}
	h.submit()
	return true
}

// submit starts the write, whose data is complete.
func (h *nbdHalf) submit() {
	s, r := h.s, h.r
	*h = nbdHalf{}
	s.parts.Add(1)
	r.Submit(s.partDone)
	s.partEnded()
}

// passRead leaves the next request, or the rest of this one, to the reader.
func (c *nbdCompanion) passRead() {
	if c.stall != nil {
		c.stall.Stop()
	}
	c.reads = false
	c.toRead <- struct{}{}
}

// awaitRead implements nbdCompany.
func (c *nbdCompanion) awaitRead() error {
	<-c.toRead
	h, t := &c.half, c.t
	if h.s == nil {
		return nil
	}
	if h.read < int(h.s.length) {
		t.reader.pos, t.reader.n = 0, 0
		n, err := t.stream.readFull(h.r.Segments(), h.read, t.reader.room())
		if err != nil {
			h.r.Release()
			h.s.fail(nbdEIO)
			h.s.partEnded()
			*h = nbdHalf{}
			return err
		}
		t.reader.n = n
	}
	h.submit()
	return nil
}

// returnRead implements nbdCompany.
func (c *nbdCompanion) returnRead() {
	c.readBack.Store(true)
	if c.alone.Load() && c.readBack.Swap(false) {
		c.toRead <- struct{}{} // to itself, as End does if it comes first
	}
	c.disk.Nudge()
}

// writeBehind implements nbdCompany.
func (c *nbdCompanion) writeBehind() (alone bool) {
	t := c.t
	for sent := range c.toWrite {
		if sent != nothingBegun {
			t.sendBatch(sent)
		}
		for len(t.finished) > 0 { // nobody else takes any out
			t.collect(<-t.finished)
			t.sendBatch(0)
		}
		c.writeBack.Store(true)
		if c.alone.Load() && c.writeBack.Swap(false) {
			return true
		}
		c.disk.Nudge()
	}
	return false
}

// nudge implements nbdCompany.
func (c *nbdCompanion) nudge() { c.disk.Nudge() }

// leave implements nbdCompany.
func (c *nbdCompanion) leave() {
	c.leaving.Store(true)
	c.disk.Nudge()
	<-c.left
	close(c.toWrite)
	if c.stall != nil {
		c.stall.Stop()
	}
}

// free implements nbdCompany.
func (c *nbdCompanion) free() { c.conn.free() }
