package initiator

import (
	"fmt"
	"sync/atomic"

	"aoe/frame"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// A Kind is what an operation does.
type Kind uint8

// The operations of a disk.
const (
	Read  Kind = iota + 1
	Write      // the target has the data when it is done; see Flush
	Flush      // what was acknowledged before is durable when it is done
	Trim       // the contents of the range are of no more use
)

// String names k.
func (k Kind) String() string {
	switch k {
	case Read:
		return "read"
	case Write:
		return "write"
	case Flush:
		return "flush"
	case Trim:
		return "trim"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// engine's kinds have the same meaning but are another type: that one belongs
// to the wire's side.
var engineKinds = [...]engine.Kind{Read: engine.Read, Write: engine.Write, Flush: engine.Flush, Trim: engine.Trim}

// An Op is one operation. Offset and Length are in bytes, multiples of 512 and
// within the disk; both are zero for Flush.
type Op struct {
	Kind   Kind
	Offset int64
	Length int
}

// Phases of a Request: who it belongs to.
const (
	phaseIdle      uint32 = iota // the pool
	phaseAdmitted                // the caller
	phaseSubmitted               // the disk
	phaseEnded                   // the caller again
)

// A Request is an admitted operation. See the package comment for who owns it
// when.
type Request struct {
	// Cookie is the caller's, and not looked at. It is zero after Admit.
	Cookie uint64

	disk     *Disk
	op       Op
	request  engine.Request
	frames   []engine.Frame // all there can be; request.Frames is its beginning
	segments [][]byte
	grant    *reserve.Grant
	held     bool // the grant is; a request without frames needs none
	done     func(*Request)
	err      error
	ataError ATAError
	phase    atomic.Uint32

	admitted chan struct{} // one token when the grant is held or refused
	grantErr error
	onGrant  func(*reserve.Grant, error)

	waiting  bool          // a goroutine waits in Disk.wait, instead of done
	waiter   atomic.Uint32 // what became of it
	ended    chan struct{} // one token for it
	finished bool          // the loop's: ended after it was abandoned

	next, nextCancel *Request // inbox; next also holds the completed list
}

func newRequest(d *Disk, id uint32, frames int, g *reserve.Grant) *Request {
	r := &Request{
		disk:     d,
		frames:   make([]engine.Frame, frames),
		segments: make([][]byte, 0, frames),
		grant:    g,
		admitted: make(chan struct{}, 1),
		ended:    make(chan struct{}, 1),
	}
	r.request.ID = id
	r.onGrant = func(_ *reserve.Grant, err error) {
		r.grantErr = err
		r.admitted <- struct{}{}
	}
	return r
}

// Op is what was admitted.
func (r *Request) Op() Op { return r.op }

// buffersPerFrame: one to send from, one to exchange for the answer.
const buffersPerFrame = 2

// transmit is the buffer that frame i is sent from.
func (r *Request) transmit(i int) []byte { return r.grant.Buffers()[buffersPerFrame*i].Data }

// receiveIndex is that of the buffer which is exchanged for the answer to
// frame i.
func receiveIndex(i int) int { return buffersPerFrame*i + 1 }

// Segments are the places of the data in the frames, in order, together as long
// as the operation. For a write they are to be filled before Submit; for a read
// they hold what was read, from the callback until Release, if Err is nil. They
// are empty for the other kinds.
func (r *Request) Segments() [][]byte {
	if r.op.Kind == Read && len(r.segments) == 0 && r.phase.Load() == phaseEnded && r.err == nil {
		for i := range r.request.Frames {
			b := r.grant.Buffers()[receiveIndex(i)].Data
			n := int(r.request.Frames[i].Sectors) * frame.SectorSize
			r.segments = append(r.segments, b[frame.ATADataOffset:][:n])
		}
	}
	return r.segments
}

// Submit starts the operation. done is called exactly once, on the disk's loop,
// when it has ended: it must not block, and may do with r what a caller may,
// and admit (with TryAdmit) and submit others. After Close it is called by
// Submit itself.
func (r *Request) Submit(done func(*Request)) {
	if done == nil {
		panic("initiator: Submit without a function")
	}
	r.handOver()
	r.done, r.waiting = done, false
	r.send()
}

// handOver makes the request the disk's.
func (r *Request) handOver() {
	if !r.phase.CompareAndSwap(phaseAdmitted, phaseSubmitted) {
		panic("initiator: Submit of a request that is not admitted, or was submitted")
	}
}

func (r *Request) send() {
	if !r.disk.inbox.submit(r) {
		r.end(errClosed)
	}
}

// end gives r back to the caller. It runs on the loop, or after its end.
func (r *Request) end(err error) {
	r.err = err
	r.phase.Store(phaseEnded)
	if !r.waiting {
		r.done(r)
		return
	}
	if r.waiter.CompareAndSwap(waiterWaits, waiterServed) {
		r.ended <- struct{}{}
	} else {
		r.finished = true // the cancellation, which is on its way, releases it
		if r.err == ErrForgotten {
			r.disk.engine.Untold()
		}
	}
}

// Err is the outcome, from the callback until Release; see the package comment
// for the types. An [*ATAError] is valid as long as the request.
func (r *Request) Err() error { return r.err }

// Release gives everything back. It is called exactly once, before Submit
// (nothing is done then) or after the callback, never in between.
func (r *Request) Release() {
	if !r.phase.CompareAndSwap(phaseAdmitted, phaseIdle) && !r.phase.CompareAndSwap(phaseEnded, phaseIdle) {
		panic("initiator: Release of a request that is in flight, or was released")
	}
	r.disk.putBack(r)
}
