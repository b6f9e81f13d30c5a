package initiator

import (
	"sync"
	"sync/atomic"

	"aoe/frame/link"
)

// An inbox is how other goroutines reach the loop: lists through the requests
// themselves, so that it is bounded by their number and never allocates. The
// loop takes all of it at once.
type inbox struct {
	link link.Link

	// asleep is set by the loop before it waits for frames, filled by whoever
	// puts something in. Each sets its own and then looks at the other's, so
	// that one of them sees both: the loop is woken, and only if it sleeps.
	asleep atomic.Bool
	filled atomic.Bool

	mu sync.Mutex
	contents
	ended bool // the loop will not look again
}

// contents are what the loop takes.
type contents struct {
	first, last *Request // submitted, in order
	canceled    *Request // abandoned by those who waited for them
	joined      []Companion
	snapshot    bool // somebody wants one
	closing     bool
}

// submit hands r to the loop, or reports that there is none any more.
func (in *inbox) submit(r *Request) bool {
	in.mu.Lock()
	if in.ended {
		in.mu.Unlock()
		return false
	}
	r.next = nil
	if in.last == nil {
		in.first = r
	} else {
		in.last.next = r
	}
	in.last = r
	in.mu.Unlock()
	in.notify()
	return true
}

// cancel tells the loop that nobody waits for r any more.
func (in *inbox) cancel(r *Request) bool {
	in.mu.Lock()
	if in.ended {
		in.mu.Unlock()
		return false
	}
	r.nextCancel = in.canceled
	in.canceled = r
	in.mu.Unlock()
	in.notify()
	return true
}

// join hands a companion to the loop.
func (in *inbox) join(c Companion) bool {
	in.mu.Lock()
	if in.ended {
		in.mu.Unlock()
		return false
	}
	in.joined = append(in.joined, c)
	in.mu.Unlock()
	in.notify()
	return true
}

// ask sets the two flags that are not about a request.
func (in *inbox) ask(snapshot, closing bool) {
	in.mu.Lock()
	in.snapshot = in.snapshot || snapshot
	in.closing = in.closing || closing
	in.mu.Unlock()
	in.notify()
}

func (in *inbox) notify() {
	in.filled.Store(true)
	if in.asleep.Load() && in.asleep.CompareAndSwap(true, false) {
		in.link.Wake()
	}
}

// take empties the inbox.
func (in *inbox) take() contents {
	if !in.filled.Load() {
		return contents{}
	}
	in.filled.Store(false)
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.contents
	in.contents = contents{}
	return c
}

// end closes the inbox if there is nothing in it.
func (in *inbox) end() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = in.first == nil && in.canceled == nil && in.joined == nil
	return in.ended
}

// goingToSleep reports whether the loop may wait for frames.
func (in *inbox) goingToSleep() bool {
	in.asleep.Store(true)
	if in.filled.Load() {
		in.asleep.Store(false)
		return false
	}
	return true
}
