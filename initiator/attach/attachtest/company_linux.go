package attachtest

import (
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"aoe/initiator"
)

// A company is the companions of the disk's goroutine, and what watches their
// descriptors.
type company struct {
	turns chan struct{} // a token: somebody wants a turn
	heard atomic.Bool

	// Guarded by Memory.mu.
	joined []initiator.Companion
	poller int // epoll(7); 0: none yet
	closed bool

	now []initiator.Companion // the goroutine's
}

// Accompanies is as that of *initiator.Disk.
func (m *Memory) Accompanies() bool { return !m.cfg.Alone }

// Accompany is as that of *initiator.Disk.
func (m *Memory) Accompany(fd int, c initiator.Companion) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.company.closed {
		return fmt.Errorf("attachtest: %w", net.ErrClosed)
	}
	if m.company.poller == 0 {
		poller, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		m.company.poller = poller
		m.ended.Go(m.watch)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET}
	if err := unix.EpollCtl(m.company.poller, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return err
	}
	m.company.joined = append(m.company.joined, c)
	m.company.heard.Store(true)
	m.Nudge()
	return nil
}

// Nudge is as that of *initiator.Disk.
func (m *Memory) Nudge() {
	select {
	case m.company.turns <- struct{}{}:
	default:
	}
}

// watchPause is how long watch waits at most before it looks whether the disk is
// closed, in milliseconds.
const watchPause = 10

// watch tells the disk's goroutine of the companions' descriptors.
func (m *Memory) watch() {
	events := make([]unix.EpollEvent, 16)
	for {
		n, err := unix.EpollWait(m.company.poller, events, watchPause)
		if err != nil && err != unix.EINTR {
			panic(fmt.Sprintf("attachtest: epoll_wait: %v", err))
		}
		if n > 0 {
			m.company.heard.Store(true)
			m.Nudge()
		}
		m.mu.Lock()
		closed := m.company.closed
		m.mu.Unlock()
		if closed {
			unix.Close(m.company.poller)
			return
		}
	}
}

// accompany gives the companions their turn.
func (m *Memory) accompany() {
	m.mu.Lock()
	m.company.now = append(m.company.now, m.company.joined...)
	m.company.joined = nil
	m.mu.Unlock()
	heard := m.company.heard.Swap(false)
	kept := m.company.now[:0]
	for _, c := range m.company.now {
		if c.Turn(heard) {
			kept = append(kept, c)
		}
	}
	m.company.now = kept
}

// farewell tells the companions that the disk's goroutine ends.
func (m *Memory) farewell() {
	m.mu.Lock()
	m.company.closed = true
	m.company.now = append(m.company.now, m.company.joined...)
	m.company.joined = nil
	m.mu.Unlock()
	for _, c := range m.company.now {
		c.End()
	}
	m.company.now = nil
}
