// Package turn keeps a goroutine that waits in system calls on its thread.
//
// Go's runtime counts how long a goroutine has been running from one choice of
// its scheduler to the next. A loop that waits in system calls, and nowhere else,
// never comes back to the scheduler, so after 10 ms it is taken for one that
// will not give way: whenever the runtime's monitor looks, it takes the right to
// run (the P) from a goroutine that is in a system call, and because it has found
// something to do it looks again 20 us later. The goroutine goes on with another P,
// often on another thread, and so for ever: a frame costs two switches of threads
// and more where one would do, and a quarter more processor time.
//
// A [Turn] gives way by itself, before the monitor asks.
package turn

import (
	"runtime"
	"time"
)

// limit is how long a turn may last: less than what the runtime's monitor allows
// (forcePreemptNS of runtime/proc.go, 10 ms), so that no two of its looks that are
// so far apart find the same turn. Not much less: yielding costs a goroutine that is
// locked to its thread two switches.
const limit = 9 * time.Millisecond

// A Turn is that of one goroutine, which alone may use it. Its zero value is one
// that is over.
type Turn struct {
	began time.Time
}

// Yield ends the turn if it has lasted long, and begins another: others may run
// first. It is called where a loop begins anew, whether or not it will have to wait.
// It does not allocate.
func (t *Turn) Yield() {
	if t.over(time.Now()) {
		runtime.Gosched()
	}
}

// over reports whether the turn has ended by now, when the next one begins.
func (t *Turn) over(now time.Time) bool {
	if now.Sub(t.began) < limit {
		return false
	}
	t.began = now
	return true
}
