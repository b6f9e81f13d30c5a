package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// A ublkPort is the kernel's side of a queue. All methods but wake are the
// queue's thread's.
type ublkPort interface {
	// open is the first call, on the thread that makes all others.
	open() error
	// news is a descriptor that says so, to an edge-triggered epoll(7), when wait
	// would find something; or that is closed, and says nothing. Anybody calls it.
	news() int
	// fetch asks for the first request of a tag, commit tells the outcome of
	// one, bytes or a negative error number, and asks for the tag's next.
	// Neither does anything before wait.
	fetch(tag int)
	commit(tag int, result int32)
	// wait appends the requests there are; if block is set it first waits until
	// there are some, or wake was called.
	wait(events []ublkEvent, block bool) ([]ublkEvent, error)
	// desc is the request of a tag, between its event and its commit.
	desc(tag int) ublkDesc
	// staged reports whether there is something that wait has to do.
	staged() bool
	// take copies a write's data to segs, beginning at offset within the
	// request; give copies a read's data from there.
	take(tag int, offset int64, segs [][]byte) error
	give(tag int, offset int64, segs [][]byte) error
	// wake ends a wait that is under way, or the next one. Anybody calls it.
	wake()
}

// A ublkEvent tells that a tag has a request, or, when result is negative, that
// it will never have one again.
type ublkEvent struct {
	tag    int
	result int32
}

// A ublkQueue serves the requests of a block device's queue. Its thread alone
// talks to the kernel, because the kernel accepts no other: that of the disk's
// loop, if it takes companions (ublkCompany), and else one that does nothing else,
// which the disk's callbacks wake when they have put slots into a list.
//
// A request that cannot be admitted at once waits in its slot, of which there
// is one for each tag: a thread of its own waits for the admission of those,
// one after the other.
type ublkQueue struct {
	disk     Disk
	info     Info
	port     ublkPort
	onThread func()
	slots    []ublkSlot
	events   []ublkEvent
	live     int          // tags that the kernel has not taken back
	inHand   int          // those with a request
	company  *ublkCompany // nil: a thread of its own
	stats    ublkCounters

	// starved are slots that wait for admission; waiting is how many. While
	// there are any, others line up behind them.
	starved    chan *ublkSlot
	admissions sync.WaitGroup
	waiting    atomic.Int32
	ctx        context.Context // ends when the device is given up
	cancel     context.CancelFunc

	// asleep and filled are as in the initiator's inbox: each side sets its own
	// and then looks at the other's, so that the thread is woken, and only if
	// it sleeps.
	asleep, filled atomic.Bool
	wakers         atomic.Int32 // those who are about to wake it
	mu             sync.Mutex
	first, last    *ublkSlot // handed to the thread
	ended          bool      // it will not look again

	done    chan struct{} // closed when the thread has ended
	err     error         // why, if not because the device is gone; valid after done
	dropped bool          // the thread's: the device was given up
}

// A ublkPhase says who has a slot.
type ublkPhase uint8

const (
	ublkIdle     ublkPhase = iota // the kernel
	ublkStarving                  // waits for admission
	ublkInDisk                    // submitted
	ublkOrphan                    // its request was failed, but the disk or the admission still has it
)

// A ublkSlot is what becomes of one tag's request. It belongs to the thread,
// but for request and err while it is handed over.
type ublkSlot struct {
	q     *ublkQueue
	tag   int
	phase ublkPhase

	kind    Kind  // of the operation under way
	zeroes  bool  // a write of zeros
	data    bool  // a read or write: its outcome is a number of bytes
	sync    bool  // to be flushed behind
	offset  int64 // of what is left, in bytes
	rest    int64
	length  int   // of the part under way
	moved   int64 // bytes of the parts that have ended
	request Request
	err     error // of the admission

	done func(Request) // made once
	next *ublkSlot
}

type ublkCounters struct {
	reads, writes, flushes, trims, zeroes, errors atomic.Uint64
	copies, copied, starved, wakes                atomic.Uint64
}

func newUblkQueue(disk Disk, info Info, port ublkPort, depth int, onThread func()) *ublkQueue {
	q := &ublkQueue{
		disk: disk, info: info, port: port, onThread: onThread,
		slots: make([]ublkSlot, depth), events: make([]ublkEvent, 0, 2*depth+2),
		starved: make(chan *ublkSlot, depth),
		done:    make(chan struct{}),
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	for i := range q.slots {
		s := &q.slots[i]
		s.q, s.tag = q, i
		s.done = func(Request) { q.hand(s) }
	}
	return q
}

// run serves until the kernel has taken back every tag, on a thread that was
// locked (lockThread) before.
func (q *ublkQueue) run() {
	q.begin()
	q.finish(q.serve())
}

// begin asks for the first request of every tag.
func (q *ublkQueue) begin() {
	q.admissions.Go(q.admitStarved)
	for i := range q.slots {
		q.port.fetch(i)
	}
	q.live = len(q.slots)
}

// finish is called when the kernel has no tag any more, or has ended it all with
// an error.
func (q *ublkQueue) finish(err error) {
	q.err = err
	q.cancel()
	close(q.starved)
	q.admissions.Wait()
	q.end()
	close(q.done)
}

// open has the queue served: by the disk's loop, or by a thread of its own.
func (q *ublkQueue) open() error {
	taken, err := q.accompany()
	if taken || err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() { // ends when the driver has taken all tags back
		q.lockThread()
		err := q.port.open()
		opened <- err
		if err == nil {
			q.run()
		}
	}()
	return <-opened
}

// lockThread gives the calling goroutine a thread for its life. The thread ends
// with it: whatever onThread made of it must not pass on to others.
func (q *ublkQueue) lockThread() {
	runtime.LockOSThread()
	if q.onThread != nil {
		q.onThread()
	}
}

// serve is what a thread does that does nothing else.
func (q *ublkQueue) serve() error {
	for q.live > 0 {
		if err := q.look(q.goToSleep()); err != nil {
			return err
		}
		q.goOn()
	}
	return nil
}

// look starts the requests that the kernel has. If block is set it waits for some,
// or to be woken.
func (q *ublkQueue) look(block bool) (err error) {
	if q.events, err = q.port.wait(q.events[:0], block); err != nil {
		return err
	}
	q.asleep.Store(false)
	for _, e := range q.events {
		if e.result < 0 {
			q.live--
			if e.result != ublkAborted {
				return fmt.Errorf("attach: ublk refused the request of tag %d: error %d", e.tag, -e.result)
			}
			continue
		}
		q.inHand++
		q.start(&q.slots[e.tag])
	}
	return nil
}

// goOn sees to what others have done.
func (q *ublkQueue) goOn() {
	q.takeIn()
	if q.ctx.Err() != nil && !q.dropped {
		q.drop()
	}
}

// goToSleep reports whether the thread may wait for the kernel.
func (q *ublkQueue) goToSleep() bool {
	q.asleep.Store(true)
	if q.filled.Load() {
		q.asleep.Store(false)
		return false
	}
	return true
}

// hand gives s to the thread, and wakes it. A disk's loop that is the thread is awake.
func (q *ublkQueue) hand(s *ublkSlot) {
	q.put(s)
	if q.company == nil {
		q.wakeUp()
	}
}

// put gives s to the thread; after the thread's end, what it holds goes back
// to the disk.
func (q *ublkQueue) put(s *ublkSlot) {
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		s.release()
		return
	}
	s.next = nil
	if q.last == nil {
		q.first = s
	} else {
		q.last.next = s
	}
	q.last = s
	q.mu.Unlock()
	q.filled.Store(true)
}

func (q *ublkQueue) wakeUp() {
	if q.company != nil {
		q.company.disk.Nudge()
	}
	q.wakers.Add(1)
	defer q.wakers.Add(-1)
	if q.asleep.Load() && q.asleep.CompareAndSwap(true, false) {
		q.stats.wakes.Add(1)
		q.port.wake()
	}
}

// takeIn goes on with the slots that were handed over.
func (q *ublkQueue) takeIn() {
	if !q.filled.Load() {
		return
	}
	q.filled.Store(false)
	q.mu.Lock()
	s := q.first
	q.first, q.last = nil, nil
	q.mu.Unlock()
	for s != nil {
		next := s.next
		s.next = nil
		s.goOn()
		s = next
	}
}

// giveUp fails everything that is in hand and all that comes, so that nobody
// waits for the disk any more.
func (q *ublkQueue) giveUp() {
	q.cancel()
	q.filled.Store(true) // so that the thread looks, also if it is about to sleep
	q.wakeUp()
}

// drop is giveUp on the thread.
func (q *ublkQueue) drop() {
	q.dropped = true
	for i := range q.slots {
		switch s := &q.slots[i]; s.phase {
		case ublkStarving, ublkInDisk:
			s.phase = ublkOrphan
			q.fail(s, errGivenUp)
		}
	}
}

// end takes the queue out of the hands of the callbacks.
func (q *ublkQueue) end() {
	q.mu.Lock()
	q.ended = true
	s := q.first
	q.first, q.last = nil, nil
	q.mu.Unlock()
	for s != nil {
		next := s.next
		s.release()
		s = next
	}
	// The port may be closed when nobody is in the middle of waking it.
	for q.asleep.Store(false); q.wakers.Load() > 0; {
		runtime.Gosched()
	}
}

// admitStarved waits for the admission of slots that could not have it at once.
func (q *ublkQueue) admitStarved() {
	q.lockThread()
	for s := range q.starved {
		s.request, s.err = q.disk.Admit(q.ctx, s.op())
		q.waiting.Add(-1)
		q.put(s)
		q.wakeUp()
	}
}

var (
	errGivenUp  = errors.New("attach: the device was given up")
	errUblkOp   = fmt.Errorf("attach: ublk sent a request of an unknown kind: %w", errors.ErrUnsupported)
	errBeyond   = errors.New("attach: request beyond the end of the disk")
	errReadOnly = fmt.Errorf("attach: the device is read-only: %w", os.ErrPermission)
)
