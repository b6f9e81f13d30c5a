package port

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPause is the most waits in a row that do not poll. At 256 waits to a
	// failure polling costs next to nothing where it is of no use, and is there
	// after a few milliseconds where it has become so.
	maxPause = 255

	// interrupted is how long one look takes that something came between: an
	// interrupt, or another thread.
	interrupted = 3 * time.Microsecond

	// lookElsewhere is how many looks for frames there are to one, a system call,
	// at the descriptors of others.
	lookElsewhere = 8
)

// A poller decides which waits poll before they sleep. Where the other side answers
// within microseconds, most of a round trip is two threads that go to sleep and are
// woken; who looks for the answer meanwhile has it several times as fast, and with
// less processor time for each. Where it does not, looking is a waste, and where
// others want the processor it is at their cost: so each time that nothing came, or
// that another thread had to take the processor away, is followed by a pause, twice
// as long as the last.
type poller struct {
	most  time.Duration // how long a wait polls; 0: none does
	pause int           // waits without polling after the last failure
	left  int           // of them
	usage unix.Rusage   // of the thread
}

// due reports whether the next wait is to poll.
func (p *poller) due() bool {
	if p.most > 0 && p.left == 0 {
		return true
	}
	p.left = max(p.left-1, 0)
	return false
}

// ended takes in how polling went.
func (p *poller) ended(well bool) {
	if well {
		p.pause /= 2
		return
	}
	p.pause = min(2*p.pause+1, maxPause)
	p.left = p.pause
}

// poll looks for frames, for Wake and for watched descriptors, until there is
// something or it has looked for long enough. It returns what drain does; sleep
// finds the rest.
func (l *Link) poll(bufs [][]byte, end time.Duration) (int, error) {
	preemptions, err := l.poller.preemptions()
	if err != nil {
		return 0, err
	}
	before := l.alarm.now()
	end = min(end, before+l.poller.most)
	n, found, disturbed := 0, false, false
	for look := 1; ; look++ {
		if n = l.drain(bufs); n > 0 || l.wake.Load() == pending {
			found = true
			break
		}
		if look%lookElsewhere == 0 && l.watching.Load() {
			if found, err = l.waiter.look(); found || err != nil {
				break
			}
		}
		now := l.alarm.now()
		if now >= end {
			break
		}
		disturbed = disturbed || now-before > interrupted
		before = now
	}
	disturbed = disturbed || l.alarm.now()-before > interrupted // before what was found
	if disturbed && err == nil {
		var now int64
		now, err = l.poller.preemptions()
		found = found && now == preemptions
	}
	l.poller.ended(found)
	return n, err
}

// preemptions is how often another thread has taken the processor from this one.
func (p *poller) preemptions() (int64, error) {
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &p.usage); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return int64(p.usage.Nivcsw), nil
}

// look reports whether wait would return at once.
func (w *waiter) look() (bool, error) {
	p := [...]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	if err != nil && err != unix.EINTR {
		return false, fmt.Errorf("poll: %w", err)
	}
	return n > 0, nil
}
