package initiator

import (
	"context"
	"io"

	"aoe/frame"
)

// What became of a goroutine that waits for a request.
const (
	waiterWaits uint32 = iota
	waiterServed
	waiterGone // its context ended: the loop releases the request
)

// start submits r for wait.
func (r *Request) start() {
	r.handOver()
	r.waiting = true
	r.waiter.Store(waiterWaits)
	r.send()
}

// wait waits for a request that was started. If ctx ends first, the request is
// gone: it must not be touched any more, and gone is true.
func (d *Disk) wait(ctx context.Context, r *Request) (gone bool, err error) {
	select {
	case <-r.ended:
		return false, r.err
	case <-ctx.Done():
	}
	if !r.waiter.CompareAndSwap(waiterWaits, waiterGone) {
		<-r.ended
		return false, r.err
	}
	if !d.inbox.cancel(r) {
		r.Release() // the loop ended everything before it ended itself
	}
	return true, ctx.Err()
}

// do executes an operation without data.
func (d *Disk) do(ctx context.Context, op Op) error {
	r, err := d.Admit(ctx, op)
	if err != nil {
		return err
	}
	r.start()
	gone, err := d.wait(ctx, r)
	if !gone {
		err = lasting(err)
		r.Release()
	}
	return err
}

// Flush makes durable what was acknowledged before. It is nothing to do for a
// disk that has no write cache.
func (d *Disk) Flush(ctx context.Context) error { return d.do(ctx, Op{Kind: Flush}) }

// Trim tells the disk that the contents of n bytes from offset off, multiples of
// 512, are of no more use. A disk that does not know trims returns an error
// that is errors.ErrUnsupported.
func (d *Disk) Trim(ctx context.Context, off, n int64) error {
	if n == 0 {
		return nil
	}
	for n > 0 {
		part := min(n, int64(d.MaxTrim()))
		if err := d.do(ctx, Op{Kind: Trim, Offset: off, Length: int(part)}); err != nil {
			return err
		}
		off, n = off+part, n-part
	}
	return nil
}

// ReadAt implements io.ReaderAt. Offset and length need no alignment.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.Read(context.Background(), p, off) }

// WriteAt implements io.WriterAt. Offset and length must be multiples of 512.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	return d.Write(context.Background(), p, off)
}

// Read is ReadAt with a context. Once it has returned, p is not touched any
// more. It returns io.EOF with what there is at the end of the disk.
func (d *Disk) Read(ctx context.Context, p []byte, off int64) (int, error) {
	size := d.Size()
	switch {
	case off < 0:
		return 0, ErrRange
	case len(p) == 0:
		return 0, nil
	case off >= size:
		return 0, io.EOF
	}
	atEnd := int64(len(p)) > size-off
	if atEnd {
		p = p[:size-off]
	}
	t := transfer{disk: d, kind: Read, p: p, off: off}
	n, err := t.run(ctx)
	if err == nil && atEnd {
		err = io.EOF
	}
	return n, err
}

// Write is WriteAt with a context. When that ends early, any part of p may have
// been written, or be written still; p itself is not touched any more.
func (d *Disk) Write(ctx context.Context, p []byte, off int64) (int, error) {
	switch {
	case off%frame.SectorSize != 0 || len(p)%frame.SectorSize != 0:
		return 0, ErrUnaligned
	case off < 0 || off > d.Size()-int64(len(p)):
		return 0, ErrRange
	case len(p) == 0:
		return 0, nil
	}
	t := transfer{disk: d, kind: Write, p: p, off: off}
	return t.run(ctx)
}

// parallel is the most requests of one call that are under way at once.
const parallel = 8

// A transfer is a read or write of any length, cut into requests of at most
// MaxRequest, several of which are under way at once. See the package comment
// for why that cannot deadlock.
type transfer struct {
	disk *Disk
	kind Kind
	p    []byte
	off  int64 // of p[0] on the disk

	started int // bytes of p that parts were begun for
	parts   [parallel]part
	first   int // the oldest of them
	count   int
}

// A part is one request: the bytes of p that it transfers, and where they begin
// in its data.
type part struct {
	r    *Request
	p    []byte
	skip int
}

func (t *transfer) run(ctx context.Context) (done int, err error) {
	for t.started < len(t.p) || t.count > 0 {
		if t.started < len(t.p) && t.count < parallel {
			begun, err := t.begin(ctx)
			if err != nil {
				t.abandon(ctx)
				return done, err
			}
			if begun {
				continue
			}
		}
		n, err := t.finish(ctx)
		done += n
		if err != nil {
			t.abandon(ctx)
			return done, err
		}
	}
	return done, nil
}

// begin admits and starts the next part. While it holds others it does not wait
// for memory (I3), and reports false instead.
func (t *transfer) begin(ctx context.Context) (bool, error) {
	at := t.off + int64(t.started)
	skip := int(at % frame.SectorSize)
	rest := t.p[t.started:]
	n := min(len(rest), t.disk.cfg.MaxRequest-skip)
	length := (skip + n + frame.SectorSize - 1) / frame.SectorSize * frame.SectorSize
	op := Op{Kind: t.kind, Offset: at - int64(skip), Length: length}

	var r *Request
	if t.count == 0 {
		var err error
		if r, err = t.disk.Admit(ctx, op); err != nil {
			return false, err
		}
	} else {
		var ok bool
		if r, ok = t.disk.TryAdmit(op); !ok {
			return false, nil
		}
	}
	if t.kind == Write {
		fill(r.Segments(), rest[:n])
	}
	t.parts[(t.first+t.count)%parallel] = part{r, rest[:n], skip}
	t.count++
	t.started += n
	r.start()
	return true, nil
}

// finish waits for the oldest part, copies what it read and releases it.
func (t *transfer) finish(ctx context.Context) (int, error) {
	p := t.parts[t.first]
	t.parts[t.first] = part{}
	t.first = (t.first + 1) % parallel
	t.count--
	gone, err := t.disk.wait(ctx, p.r)
	if gone {
		return 0, err
	}
	defer p.r.Release()
	if err != nil {
		return 0, lasting(err)
	}
	if t.kind == Read {
		empty(p.p, p.r.Segments(), p.skip)
	}
	return len(p.p), nil
}

// abandon waits for the parts that are under way, unless ctx has ended.
func (t *transfer) abandon(ctx context.Context) {
	for t.count > 0 {
		_, _ = t.finish(ctx) // the first error is what counts
	}
}

// fill copies p into segments of the same length together.
func fill(segments [][]byte, p []byte) {
	for _, s := range segments {
		p = p[copy(s, p):]
	}
}

// empty copies what stands in segments from skip on to p.
func empty(p []byte, segments [][]byte, skip int) {
	for _, s := range segments {
		if skip >= len(s) {
			skip -= len(s)
			continue
		}
		p = p[copy(p, s[skip:]):]
		skip = 0
	}
}
