package initiator

import (
	"context"
	"fmt"

	"aoe/frame"
	"aoe/reserve"
)

// Admit reserves everything that is needed to finish op. It waits, first come,
// first served, until that is there, ctx is done or the disk is closed. It is
// not to be called by who holds a request that only he would submit or release
// (I3), nor by a callback: TryAdmit is for them.
//
// The errors are [ErrRange], [ErrUnaligned], [ErrTooLong],
// errors.ErrUnsupported, net.ErrClosed and those of ctx.
func (d *Disk) Admit(ctx context.Context, op Op) (*Request, error) {
	if err := d.check(op); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.isClosed() {
		return nil, errClosed
	}
	var r *Request
	select {
	case r = <-d.idle:
	default:
		select {
		case <-d.closed:
			return nil, errClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		case r = <-d.idle:
		}
	}
	n := d.prepare(r, op)
	if n == 0 {
		return d.admitted(r), nil
	}
	held, err := d.reserve.AdmitFunc(r.grant, n, r.onGrant)
	if !held && err == nil {
		err = d.awaitGrant(ctx, r)
	}
	if err != nil {
		d.home(r)
		if err == reserve.ErrClosed {
			err = errClosed
		}
		return nil, err
	}
	r.held = true
	return d.admitted(r), nil
}

// TryAdmit is Admit without waiting: it reports whether everything could be
// had at once, and nobody waits for it (I14). It never blocks and never
// allocates. An operation that Admit would refuse is never had.
func (d *Disk) TryAdmit(op Op) (*Request, bool) {
	if d.check(op) != nil || d.isClosed() {
		return nil, false
	}
	var r *Request
	select {
	case r = <-d.idle:
	default:
		return nil, false
	}
	if n := d.prepare(r, op); n > 0 {
		if !d.reserve.TryAdmit(r.grant, n) {
			d.home(r)
			return nil, false
		}
		r.held = true
	}
	return d.admitted(r), true
}

// awaitGrant waits for the grant, which is queued.
func (d *Disk) awaitGrant(ctx context.Context, r *Request) error {
	var err error
	select {
	case <-r.admitted:
		return r.grantErr
	case <-ctx.Done():
		err = ctx.Err()
	case <-d.closed:
		err = errClosed
	}
	if !d.reserve.Cancel(r.grant) {
		<-r.admitted // it was granted or refused in between
		if r.grantErr == nil {
			r.grant.Release()
		}
	}
	return err
}

// prepare gives r its operation and returns how many buffers it takes.
func (d *Disk) prepare(r *Request, op Op) int {
	e := &r.request
	r.op, r.Cookie, r.err = op, 0, nil
	r.segments = r.segments[:0]
	e.Kind = engineKinds[op.Kind]
	e.LBA, e.Sectors = uint64(op.Offset)/frame.SectorSize, uint64(op.Length)/frame.SectorSize
	e.Frames = r.frames[:d.frames(op.Kind, e.LBA, e.Sectors)]
	return buffersPerFrame * len(e.Frames)
}

func (d *Disk) admitted(r *Request) *Request {
	if len(r.request.Frames) > 0 {
		r.encode()
	}
	r.phase.Store(phaseAdmitted)
	return r
}

// putBack returns what r holds: the memory first, then the claim (I8), then the
// request itself.
func (d *Disk) putBack(r *Request) {
	r.segments = r.segments[:0]
	r.done, r.finished = nil, false
	if r.held {
		r.held = false
		r.grant.Release()
	}
	d.home(r)
}

// home puts r where the next can take it. The last one to come home after Close
// gives the arena back.
func (d *Disk) home(r *Request) {
	d.idle <- r
	if d.isClosed() {
		d.closeReserve()
	}
}

// isClosed is a select of one case: of several it would cost as much as the
// rest of TryAdmit.
func (d *Disk) isClosed() bool {
	select {
	case <-d.closed:
		return true
	default:
		return false
	}
}

// check refuses what could never be executed.
func (d *Disk) check(op Op) error {
	most := d.cfg.MaxRequest
	switch op.Kind {
	case Read, Write:
	case Flush:
		if op.Offset != 0 || op.Length != 0 {
			return ErrRange // it is the whole disk, always
		}
		if d.flushOp == 0 && d.identify.WriteCache {
			return errUnsupported
		}
		return nil
	case Trim:
		if !d.identify.Trim {
			return errUnsupported
		}
		most = d.MaxTrim()
	default:
		return fmt.Errorf("initiator: %v is not an operation", op.Kind)
	}
	switch {
	case op.Offset%frame.SectorSize != 0 || op.Length%frame.SectorSize != 0:
		return ErrUnaligned
	case op.Offset < 0 || op.Length <= 0 || op.Offset > d.Size()-int64(op.Length):
		return ErrRange
	case op.Length > most:
		return ErrTooLong
	}
	return nil
}
