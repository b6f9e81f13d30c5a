package hold

import (
	"context"

	"aoe/frame"
	"aoe/initiator"
	"aoe/initiator/attach"
)

// frontDisk is an initiator's disk as the front ends see it. Nothing is
// allocated for a request: the wrappers are made at start, as many as the disk
// has requests, and one is free whenever a request is.
type frontDisk struct {
	disk *initiator.Disk
	info attach.Info
	free chan *frontRequest
}

func newFrontDisk(d *initiator.Disk, addr frame.Addr) *frontDisk {
	id := d.Identify()
	f := &frontDisk{
		disk: d,
		info: attach.Info{
			Name: addr.String(), Model: id.Model,
			// AoE's sectors have 512 bytes, and partition tables on the disk
			// count in them, whatever the medium beneath prefers.
			BlockSize: frame.SectorSize,
			Preferred: d.Payload(), MaxRequest: d.MaxRequest(), MaxTrim: d.MaxTrim(),
			WriteCache: id.WriteCache, Trim: id.Trim,
		},
		free: make(chan *frontRequest, d.Depth()),
	}
	for range d.Depth() {
		r := &frontRequest{disk: f}
		r.ended = r.callBack
		f.free <- r
	}
	return f
}

// Info implements attach.Disk.
func (f *frontDisk) Info() attach.Info { return f.info }

// Size implements attach.Disk.
func (f *frontDisk) Size() int64 { return f.disk.Size() }

var kinds = [...]initiator.Kind{
	attach.Read: initiator.Read, attach.Write: initiator.Write,
	attach.Flush: initiator.Flush, attach.Trim: initiator.Trim,
}

// Admit implements attach.Disk.
func (f *frontDisk) Admit(ctx context.Context, op attach.Op) (attach.Request, error) {
	r, err := f.disk.Admit(ctx, initiator.Op{Kind: kinds[op.Kind], Offset: op.Offset, Length: op.Length})
	if err != nil {
		return nil, err
	}
	w := <-f.free
	w.request = r
	return w, nil
}

type frontRequest struct {
	disk    *frontDisk
	request *initiator.Request
	done    func(attach.Request)
	ended   func(*initiator.Request) // callBack, made once: a method value allocates
}

// Segments implements attach.Request.
func (r *frontRequest) Segments() [][]byte { return r.request.Segments() }

// Submit implements attach.Request.
func (r *frontRequest) Submit(done func(attach.Request)) {
	r.done = done
	r.request.Submit(r.ended)
}

func (r *frontRequest) callBack(*initiator.Request) { r.done(r) }

// Err implements attach.Request.
func (r *frontRequest) Err() error { return r.request.Err() }

// Release implements attach.Request. The wrapper is free before the request is:
// so Admit, which has a request, never waits for a wrapper.
func (r *frontRequest) Release() {
	request := r.request
	r.request, r.done = nil, nil
	r.disk.free <- r
	request.Release()
}
