package ring

import (
	"fmt"
	"time"
	"unsafe"

	"aoe/frame/link"

	"golang.org/x/sys/unix"
)

// A queue is a Link with the socket's own queue in place of the ring, read by
// recvmmsg(2): what the ring is measured against. The rest is the ring's.
type queue struct {
	*Link
	fd int
}

func openQueue(ifname string) (link.Link, error) {
	l, err := Open(Config{Interface: ifname})
	if err != nil {
		return nil, err
	}
	if err := l.rx.unmap(); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(l.rx.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		return nil, err
	}
	return &queue{l, l.rx.fd}, nil
}

// Recv implements link.Link.
func (q *queue) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	q.recvMu.Lock()
	defer q.recvMu.Unlock()
	for {
		if q.closed.Load() {
			return 0, q.errClosed()
		}
		n, errno := recvmmsg(q.fd, bufs)
		if n > 0 {
			q.count(n, 0)
			return n, nil
		}
		if errno != unix.EAGAIN {
			return 0, fmt.Errorf("recvmmsg: %w", errno)
		}
		if timeout > 0 {
			if err := q.alarm.set(q.alarm.now() + timeout); err != nil {
				return 0, err
			}
		}
		if err := q.waiter.wait(); err != nil {
			return 0, err
		}
		if q.waiter.said[onAlarm] != 0 {
			q.alarm.rang()
			return 0, nil
		}
	}
}

func recvmmsg(fd int, bufs [][]byte) (int, unix.Errno) {
	var hdrs [maxBatch]mmsghdr
	var iovs [maxBatch]unix.Iovec
	n := min(len(bufs), maxBatch)
	for i := range bufs[:n] {
		iovs[i].Base = unsafe.SliceData(bufs[i])
		iovs[i].SetLen(cap(bufs[i]))
		hdrs[i].hdr.Iov = &iovs[i]
		hdrs[i].hdr.SetIovlen(1)
	}
	got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for i := range int(got) {
		bufs[i] = bufs[i][:hdrs[i].len]
	}
	return int(got), 0
}
