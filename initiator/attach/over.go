package attach

import (
	"context"

	"aoe/initiator"
)

// An over is the Disk interface over an initiator's disk. All it adds is that
// callbacks get a Request and not an *initiator.Request: each of the disk's
// requests, however many are admitted, is paired with a wrapper that was made
// at the start.
type over struct {
	disk *initiator.Disk
	info Info
	free chan *overRequest
}

// An overRequest is an admitted request.
type overRequest struct {
	over   *over
	r      *initiator.Request
	done   func(Request)
	onDone func(*initiator.Request) // made once
}

// Over makes a Disk of d.
func Over(d *initiator.Disk) Disk {
	id := d.Identify()
	o := &over{
		disk: d,
		info: Info{
			Name:   d.Target().Addr.String(),
			Serial: id.Serial,
			Model:  id.Model,
			// What others have written to the disk, partition tables for
			// instance, counts in sectors of 512 bytes, whatever the physical
			// size: AoE has no other.
			BlockSize:  SectorSize,
			Preferred:  d.Payload(),
			MaxRequest: d.MaxRequest(),
			MaxTrim:    d.MaxTrim(),
			Depth:      d.Depth(),
			WriteCache: id.WriteCache,
			Trim:       id.Trim,
			TrimZeroes: id.TrimZeroes,
		},
		free: make(chan *overRequest, d.Depth()),
	}
	for range d.Depth() {
		w := &overRequest{over: o}
		w.onDone = func(*initiator.Request) { w.done(w) }
		o.free <- w
	}
	return o
}

// Info implements Disk.
func (o *over) Info() Info { return o.info }

// Size implements Disk.
func (o *over) Size() int64 { return o.disk.Size() }

// Admit implements Disk.
func (o *over) Admit(ctx context.Context, op Op) (Request, error) {
	r, err := o.disk.Admit(ctx, op)
	if err != nil {
		return nil, err
	}
	return o.wrap(r), nil
}

// TryAdmit implements Disk.
func (o *over) TryAdmit(op Op) (Request, bool) {
	r, ok := o.disk.TryAdmit(op)
	if !ok {
		return nil, false
	}
	return o.wrap(r), true
}

// Accompanies, Accompany and Nudge are the disk's, for front ends that can do
// without threads of their own.
func (o *over) Accompanies() bool { return o.disk.Accompanies() }

// Accompany is the disk's.
func (o *over) Accompany(fd int, c initiator.Companion) error { return o.disk.Accompany(fd, c) }

// Nudge is the disk's.
func (o *over) Nudge() { o.disk.Nudge() }

// wrap never waits: there are as many wrappers as the disk has requests, and
// Release puts them back first.
func (o *over) wrap(r *initiator.Request) *overRequest {
	w := <-o.free
	w.r = r
	return w
}

// Segments implements Request.
func (w *overRequest) Segments() [][]byte { return w.r.Segments() }

// Submit implements Request.
func (w *overRequest) Submit(done func(Request)) {
	w.done = done
	w.r.Submit(w.onDone)
}

// Err implements Request.
func (w *overRequest) Err() error { return w.r.Err() }

// Release implements Request.
func (w *overRequest) Release() {
	r := w.r
	w.r, w.done = nil, nil
	w.over.free <- w
	r.Release()
}
