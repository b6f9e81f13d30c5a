package store

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"
)

// An nbdSlot is a request. There is a fixed number of them.
//
// While a request is under way, its data belongs to the goroutines of the
// connection. They have ended before it is sent over another, or given up.
type nbdSlot struct {
	index uint32
	done  chan error // room for one

	// Of the request, until it is done.
	state   nbdState
	command uint16
	flags   uint16
	data    []byte // read into, or written
	off     int64  // in the export
	length  uint32
	seq     uint64

	gen     uint32    // of the cookie: how often the slot was sent
	sent    bool      // at least once
	shares  bool      // a change that waits for a flush of all
	torn    error     // of another change; see tearLocked
	mark    uint64    // changed, when a flush was sent
	expires time.Time // zero while the server was there all the time
}

type nbdState uint8

const (
	nbdIdle nbdState = iota
	nbdQueued
	nbdSent
	nbdWritten // answered, and not known to be durable: see nbdGroup
)

func (s *nbdSlot) cookie() uint64 { return uint64(s.gen)<<32 | uint64(s.index) }

// changes reports whether the request changes the disk.
func (s *nbdSlot) changes() bool {
	return s.command == nbdCmdWrite || s.command == nbdCmdTrim || s.command == nbdCmdWriteZeroes
}

// makeSlots reserves what so many requests need, and the group's flush.
func (n *NBD) makeSlots(inFlight int) {
	n.slots = make([]nbdSlot, inFlight+1)
	n.queue = make([]*nbdSlot, 0, inFlight+1)
	n.free = make(chan *nbdSlot, inFlight)
	n.group.written, n.group.covered = make([]*nbdSlot, 0, inFlight), make([]*nbdSlot, 0, inFlight)
	for i := range n.slots {
		n.slots[i] = nbdSlot{index: uint32(i), done: make(chan error, 1)}
	}
	n.group.flush = &n.slots[inFlight]
	for i := range inFlight {
		n.free <- &n.slots[i]
	}
}

// do carries out one request.
func (n *NBD) do(command uint16, data []byte, off int64, length int) error {
	s := <-n.free
	s.command, s.data, s.off, s.length = command, data, n.cfg.Offset+off, uint32(length)
	s.flags, s.sent, s.shares, s.torn, s.expires = 0, false, false, nil, time.Time{}
	err := n.submit(s)
	if err == nil {
		err = <-s.done
	}
	s.data = nil
	n.free <- s
	return err
}

// submit queues s.
func (n *NBD) submit(s *nbdSlot) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.group.failed != nil && s.command != nbdCmdRead:
		return n.group.failed
	case s.command == nbdCmdFlush && n.lost:
		n.lost = false
		return ErrLost
	case s.changes():
		n.beginLocked(s)
	}
	n.seq++
	s.seq, s.state = n.seq, nbdQueued
	if !n.up {
		n.expireLater(s, time.Now())
	}
	n.queue = append(n.queue, s) // has room for all
	n.signal()
	return nil
}

// expireLater begins the patience of a request with a server that is not there.
// It is not begun anew when the server comes and goes: the request may be what
// it dies of.
func (n *NBD) expireLater(s *nbdSlot, now time.Time) {
	if n.cfg.Patience > 0 && s.expires.IsZero() {
		s.expires = now.Add(n.cfg.Patience)
	}
}

// signal tells the sender that something is queued.
func (n *NBD) signal() {
	select {
	case n.wake <- struct{}{}:
	default: // it is known already
	}
}

// take moves requests from the queue to batch, as many as there is room for,
// and counts them as sent.
func (n *NBD) take(batch []*nbdSlot) []*nbdSlot {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := min(len(n.queue), cap(batch)-len(batch))
	for _, s := range n.queue[:k] {
		if s.sent {
			n.stats.Repeated++
		}
		s.gen++
		s.state, s.sent, s.mark = nbdSent, true, n.changed
		if s == n.group.flush {
			n.coverLocked()
		}
		batch = append(batch, s)
	}
	n.queue = slices.Delete(n.queue, 0, k)
	return batch
}

// find is the request that the cookie of a reply belongs to. It remains the
// connection's until complete.
func (n *NBD) find(cookie uint64) (*nbdSlot, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	index := cookie & (1<<32 - 1)
	if index >= uint64(len(n.slots)) {
		return nil, errNBDCookie
	}
	s := &n.slots[index]
	if s.state != nbdSent || s.cookie() != cookie {
		return nil, errNBDCookie
	}
	return s, nil
}

// complete ends a request that was answered with err.
func (n *NBD) complete(s *nbdSlot, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answered++
	switch {
	case s.command == nbdCmdFlush:
		// Also if it failed: who asked for it has been told.
		n.stable = max(n.stable, s.mark)
		n.old = n.old && err != nil
	case s.changes() && n.durable():
		if err = n.settleLocked(s, err); s.shares && err == nil {
			return
		}
	case s.changes():
		n.changed++ // also if it failed: some part may be written
	}
	if s == n.group.flush {
		n.flushedLocked(err)
		return
	}
	n.endLocked(s, err)
}

// answers is how many requests were answered so far.
func (n *NBD) answers() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answered
}

// broke makes of what was sent, and not answered, what is to be sent, once the
// connection's goroutines have ended. It reports whether the server may still
// have changes in hand.
func (n *NBD) broke(why error) (changing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up, n.why = false, why
	if n.changed > n.stable {
		n.lost, n.stable = true, n.changed
	}
	now := time.Now()
	n.queue = n.queue[:0]
	n.group.forgetLocked()
	for i := range n.slots {
		s := &n.slots[i]
		if s.state == nbdIdle {
			continue
		}
		if s.command == nbdCmdFlush && n.lost {
			n.lost = false
			n.endLocked(s, ErrLost)
			continue
		}
		changing = changing || s.state == nbdSent && s.changes()
		s.state, s.torn = nbdQueued, nil
		n.expireLater(s, now)
		n.queue = append(n.queue, s)
	}
	slices.SortFunc(n.queue, func(a, b *nbdSlot) int { return cmp.Compare(a.seq, b.seq) })
	return changing
}

// endLocked ends a request that is no longer the connection's.
func (n *NBD) endLocked(s *nbdSlot, err error) {
	s.state = nbdIdle
	if s.changes() {
		n.group.changing--
	}
	s.done <- err // has room
}

// sweepLocked ends those queued for which why returns an error.
func (n *NBD) sweepLocked(why func(*nbdSlot) error) {
	n.queue = slices.DeleteFunc(n.queue, func(s *nbdSlot) bool {
		err := why(s)
		if err != nil {
			n.endLocked(s, err)
		}
		return err != nil
	})
}

// away notes why the server cannot be reached.
func (n *NBD) away(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.why = why
}

// expire fails what has waited for the server long enough.
func (n *NBD) expire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	n.sweepLocked(func(s *nbdSlot) error {
		if s.expires.IsZero() || now.Before(s.expires) {
			return nil
		}
		n.stats.Expired++
		return fmt.Errorf("store: %s: away for %v: %w (%w)", n.cfg.URI, n.cfg.Patience, os.ErrDeadlineExceeded, n.why)
	})
}

// reconnected takes over what the server is now.
func (n *NBD) reconnected(e nbdExport) {
	n.resize(e)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = true
	n.stats.Connections++
	n.sweepLocked(func(s *nbdSlot) error {
		if s.command != nbdCmdFlush && !inside(s.off-n.cfg.Offset, int(s.length), n.size.Load()) {
			return ErrRange
		}
		return nil
	})
	n.signal()
}

// abandon fails what is left when the store is closed.
func (n *NBD) abandon() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sweepLocked(func(*nbdSlot) error { return fmt.Errorf("store: %s: %w", n.cfg.URI, net.ErrClosed) })
}

// errNBDLess is why a connection is refused whose export can do less than the one
// that was opened.
var errNBDLess = errors.New("the NBD server now offers less than before: no FLUSH, FUA, TRIM or WRITE_ZEROES, no writing, or only smaller requests")
