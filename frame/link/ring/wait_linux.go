package ring

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// What a sleeper is woken by.
const (
	onRing      = iota // frames, or an error of the socket's
	onWake             // the eventfd that Wake writes
	onInterface        // something has changed about an interface
	onAlarm
	sources
)

// A waiter sleeps until one of its sources has something to say: an epoll(7).
// They are registered once, where ppoll(2) would put the sleeper into the queue
// of each and take it out again for every sleep: a twelfth of the processor time of
// an echo of one frame at a time (BenchmarkEcho).
type waiter struct {
	fd     int
	events [sources]unix.EpollEvent // filled by the kernel
	said   [sources]uint32          // what each source said when wait returned
}

// openWaiter watches the descriptors of all sources. The ring is told of when
// something arrives and not as long as something is there (EPOLLET), which saves
// the kernel a second look: whoever waits has found it empty.
func openWaiter(fds [sources]int) (waiter, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return waiter{fd: -1}, fmt.Errorf("ring: epoll_create1: %w", err)
	}
	w := waiter{fd: fd}
	for source, fd := range fds {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(source)}
		if source == onRing {
			ev.Events |= unix.EPOLLET
		}
		if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return w, fmt.Errorf("ring: epoll_ctl: %w", err)
		}
	}
	return w, nil
}

// wait returns when some source has said something, however long that takes: see
// alarm. A signal, which the Go runtime sends to its own threads, does not end it.
func (w *waiter) wait() error {
	w.said = [sources]uint32{}
	for {
		n, err := unix.EpollWait(w.fd, w.events[:], -1)
		switch err {
		case nil:
			for _, ev := range w.events[:n] {
				w.said[ev.Fd] = ev.Events
			}
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("ring: epoll_wait: %w", err)
		}
	}
}
