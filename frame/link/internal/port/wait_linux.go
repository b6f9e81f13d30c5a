package port

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// What a sleeper is woken by.
const (
	onWake      = iota // the eventfd that Wake writes
	onInterface        // something has changed about an interface
	onAlarm
	onOther  // descriptors that others watch
	onFrames // of the receiver's first descriptor, and so on: frames, or an error
)

// A waiter sleeps until one of its sources has something to say: an epoll(7).
// They are registered once, where ppoll(2) would put the sleeper into the queue
// of each and take it out again for every sleep: a twelfth of the processor time of
// an echo of one frame at a time (BenchmarkEcho of package ring).
type waiter struct {
	fd     int
	events []unix.EpollEvent // filled by the kernel
	said   []uint32          // what each source said when wait returned
}

func openWaiter() (waiter, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return waiter{fd: -1}, fmt.Errorf("epoll_create1: %w", err)
	}
	return waiter{fd: fd}, nil
}

// watch adds sources, the first with that number. Frames are told of when they
// arrive and not as long as they are there (EPOLLET), which saves the kernel a
// second look: whoever waits has found none. A source whose descriptor was closed
// is gone by itself, and its number may be used again.
func (w *waiter) watch(first int, fds ...int) error {
	for i, fd := range fds {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(first + i)}
		if first == onFrames {
			ev.Events |= unix.EPOLLET
		}
		if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	if n := first + len(fds); n > len(w.said) {
		w.events, w.said = make([]unix.EpollEvent, n), make([]uint32, n)
	}
	return nil
}

// wait returns when some source has said something, however long that takes: see
// alarm. A signal, which the Go runtime sends to its own threads, does not end it.
func (w *waiter) wait() error {
	clear(w.said)
	for {
		n, err := unix.EpollWait(w.fd, w.events, -1)
		switch err {
		case nil:
			for _, ev := range w.events[:n] {
				w.said[ev.Fd] = ev.Events
			}
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("epoll_wait: %w", err)
		}
	}
}
