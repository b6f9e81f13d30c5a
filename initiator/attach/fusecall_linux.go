package attach

import (
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A fuseCall is one request of the kernel: one operation of the disk, or
// several parts of one. It is also the result of a read, which keeps the disk's
// request until the kernel has the data.
type fuseCall struct {
	fs      *fileSystem
	request Request  // of a read
	data    [][]byte // of a write that is not of zeros: what is to be written
	skip    int      // bytes of data[0] that are written

	parts  atomic.Int32 // those under way, and one while more may come
	status atomic.Int32 // the first error
	state  atomic.Int32
	ended  chan struct{} // one element when state becomes callEnded
	done   func(Request) // made once
}

const (
	callWaiting   = iota
	callEnded     // all parts have ended, the waiter has been told
	callAbandoned // the waiter has left: the last part to end gives back
)

// call takes a call that is not in use.
func (f *fileSystem) call() *fuseCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	var c *fuseCall
	if n := len(f.free); n > 0 {
		c, f.free = f.free[n-1], f.free[:n-1]
	} else {
		c = &fuseCall{fs: f, ended: make(chan struct{}, 1)}
		c.done = c.partDone
	}
	c.parts.Store(1)
	c.status.Store(0)
	c.state.Store(callWaiting)
	return c
}

// put gives back everything and the call itself.
func (c *fuseCall) put() {
	if c.request != nil {
		c.request.Release()
		c.request = nil
	}
	c.data, c.skip = nil, 0
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	c.fs.free = append(c.fs.free, c)
}

// refuse ends a call that has not started anything.
func (c *fuseCall) refuse(s fuse.Status) fuse.Status {
	c.put()
	return s
}

// start does one part. False means that the call has failed, and no more parts
// are of use.
func (c *fuseCall) start(op Op) bool {
	r, err := c.fs.disk.Admit(c.fs.ctx, op)
	if err != nil {
		c.fail(err)
		return false
	}
	switch op.Kind {
	case Read:
		c.request = r
	case Write:
		c.fill(r.Segments())
	}
	c.parts.Add(1)
	r.Submit(c.done)
	return c.status.Load() == 0
}

// fill copies the next data into segs, or zeros when there never was any.
func (c *fuseCall) fill(segs [][]byte) {
	if c.data == nil {
		clearSegments(segs)
		return
	}
	for _, to := range segs {
		for len(to) > 0 {
			n := copy(to, c.data[0][c.skip:])
			to = to[n:]
			if c.skip += n; c.skip == len(c.data[0]) {
				c.data, c.skip = c.data[1:], 0
			}
		}
	}
}

func (c *fuseCall) fail(err error) {
	if err != nil {
		c.status.CompareAndSwap(0, int32(fuseStatus(err)))
	}
}

// partDone is the disk's callback.
func (c *fuseCall) partDone(r Request) {
	c.fail(r.Err())
	if r != c.request {
		r.Release()
	}
	c.partEnded()
}

func (c *fuseCall) partEnded() {
	if c.parts.Add(-1) > 0 {
		return
	}
	if c.state.CompareAndSwap(callWaiting, callEnded) {
		c.ended <- struct{}{}
		return
	}
	c.put()
}

// wait waits for all parts, and gives the call back unless it was a successful
// read. If whoever asked was killed, or the device is abandoned, the call is
// left to the disk.
func (c *fuseCall) wait(cancel <-chan struct{}) fuse.Status {
	c.partEnded()
	early := fuse.OK
	select {
	case <-c.ended:
	case <-cancel:
		early = fuse.EINTR
	case <-c.fs.ctx.Done():
		early = fuse.EIO
	}
	if early != fuse.OK {
		if c.state.CompareAndSwap(callWaiting, callAbandoned) {
			return early
		}
		<-c.ended
	}
	s := fuse.Status(c.status.Load())
	if s != fuse.OK || c.request == nil {
		c.put()
	}
	return s
}

// Size implements fuse.ReadResult.
func (c *fuseCall) Size() int { return segmentBytes(c.request.Segments()) }

// Slices lets go-fuse send the data with writev, from where it lies.
func (c *fuseCall) Slices() ([][]byte, fuse.Status) { return c.request.Segments(), fuse.OK }

// Bytes implements fuse.ReadResult.
func (c *fuseCall) Bytes(b []byte) ([]byte, fuse.Status) {
	n := 0
	for _, s := range c.request.Segments() {
		n += copy(b[n:], s)
	}
	return b[:n], fuse.OK
}

// Done implements fuse.ReadResult: the kernel has the data.
func (c *fuseCall) Done() { c.put() }
