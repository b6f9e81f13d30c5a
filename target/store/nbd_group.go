package store

// Group commit. Where every change is to be durable when it is answered, and the
// server knows FLUSH, a change that is made alone is sent with FUA, which is one
// round trip. One that is made while others are under way is sent without, and
// ends with a flush that was sent after the server had answered it: all that are
// answered while a flush is under way share the next one, so that thirty-two at a
// time cost a handful of flushes and not thirty-two.
//
// Its data stays its caller's meanwhile, and is still there when the server goes
// away before the flush: the change is then made again, as if it had not been
// answered.
//
// A flush that fails has lost changes, and nobody can say which: the server's
// system may report once what was lost of any (H17). So all that waited fail, and
// whatever is changed or synced later. A change with FUA that fails takes with it
// those under way.

// nbdGroup is guarded by NBD.mu.
type nbdGroup struct {
	flush    *nbdSlot   // the flush of all; no caller has it
	written  []*nbdSlot // answered since that was sent
	covered  []*nbdSlot // answered before
	changing int        // changes that have not ended
	failed   error      // of the first flush that failed
}

// grouped reports whether changes may share flushes.
func (n *NBD) grouped() bool { return n.cfg.Durable && n.use&nbdSendFlush != 0 }

// beginLocked decides how a change becomes durable.
func (n *NBD) beginLocked(s *nbdSlot) {
	fua := n.use&nbdSendFUA != 0
	switch {
	case !n.durable():
	case !n.grouped(), fua && n.group.changing == 0:
		s.flags = nbdFlagFUA
	default:
		s.shares = true
	}
	n.group.changing++
}

// settleLocked is told what the server answered to a change that is to be
// durable, and returns what its caller is to be told. One that shares a flush
// waits for it if that is nil.
func (n *NBD) settleLocked(s *nbdSlot, err error) error {
	switch {
	case err != nil:
		if s.flags&nbdFlagFUA != 0 {
			n.tearLocked(err)
		}
		return err
	case n.group.failed != nil:
		return n.group.failed
	case s.torn != nil:
		return s.torn
	case s.shares:
		s.state = nbdWritten
		n.group.written = append(n.group.written, s) // has room for all
		n.flushLocked()
	}
	return nil
}

// tearLocked lets all changes under way fail with one with FUA that did. Its error
// may be that of the sync, and then the one report of what any of them has lost: a
// later flush would not tell.
func (n *NBD) tearLocked(err error) {
	if !n.grouped() {
		return
	}
	for i := range n.slots {
		if s := &n.slots[i]; s.state == nbdSent && s.changes() {
			s.torn = err
		}
	}
	g := &n.group
	for _, s := range g.written {
		n.endLocked(s, err)
	}
	for _, s := range g.covered {
		n.endLocked(s, err)
	}
	g.written, g.covered = g.written[:0], g.covered[:0]
}

// flushLocked asks for a flush if somebody waits for one and none is under way.
func (n *NBD) flushLocked() {
	f := n.group.flush
	if f.state != nbdIdle || len(n.group.written) == 0 {
		return
	}
	n.seq++
	f.command, f.off, f.length = nbdCmdFlush, 0, 0
	f.seq, f.state = n.seq, nbdQueued
	n.queue = append(n.queue, f)
	n.signal()
}

// coverLocked notes for whom the flush is that is being sent.
func (n *NBD) coverLocked() {
	g := &n.group
	g.covered, g.written = g.written, g.covered[:0]
}

// flushedLocked ends those whom a flush was for.
func (n *NBD) flushedLocked(err error) {
	g := &n.group
	g.flush.state = nbdIdle
	if err != nil && g.failed == nil {
		g.failed = err
	}
	for _, s := range g.covered {
		n.endLocked(s, g.failed)
	}
	g.covered = g.covered[:0]
	if g.failed != nil {
		for _, s := range g.written {
			n.endLocked(s, g.failed)
		}
		g.written = g.written[:0]
	}
	n.flushLocked()
}

// forgetLocked makes of a flush, and of those who waited for one, what they were
// before, when the connection is gone: the server may have forgotten what they
// wrote.
func (g *nbdGroup) forgetLocked() {
	g.written, g.covered = g.written[:0], g.covered[:0]
	g.flush.state = nbdIdle
}
