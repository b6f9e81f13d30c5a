package attach

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A polledConn is a socket that the runtime's poller does not know, which would
// wake a thread for everything that happens to it, also while the disk's loop
// looks after it. Who has to wait for it does so with poll(2).
type polledConn struct {
	fd      int
	in, out patience // of who reads, and of who writes

	mu     sync.Mutex // calls of Close may come after free
	closed bool
}

// A patience is how long one direction is waited for.
type patience struct {
	ends time.Time      // zero: never
	fds  [1]unix.PollFd // here, because it would be an allocation per wait
}

// newPolledStream takes ownership of the socket, which must be a non-blocking one.
// When both directions are at rest, free gives it back.
func newPolledStream(fd int, stall time.Duration) (*stream, *polledConn) {
	c := &polledConn{fd: fd}
	s := &stream{conn: c, raw: c, stall: stall}
	s.in.prepare(unix.SYS_READV)
	s.out.prepare(unix.SYS_WRITEV)
	return s, c
}

// takeSocket takes the socket over from conn, which it closes.
func takeSocket(conn *net.UnixConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dup error
	// A descriptor of our own: closing conn takes only its own from the poller.
	err = raw.Control(func(theirs uintptr) { fd, dup = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = dup
	}
	if err != nil {
		return -1, err
	}
	if err := conn.Close(); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// sendBuffer is room for the replies of one batch, as the kernel counts, which
// is up to twice: without it, a client that reads large blocks would have each
// batch sent by the writer.
const sendBuffer = 4 * nbdBatchBytes

// growSendBuffer asks for it. Without CAP_NET_ADMIN it gets what net.core.wmem_max
// allows, which is slower, not wrong.
func growSendBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
}

// Read and Write are those of a syscall.RawConn: they call f until it returns
// true, which it does when there is something to read or room to write.
func (c *polledConn) Read(f func(fd uintptr) bool) error { return c.do(f, &c.in, unix.POLLIN) }

func (c *polledConn) Write(f func(fd uintptr) bool) error { return c.do(f, &c.out, unix.POLLOUT) }

func (c *polledConn) do(f func(fd uintptr) bool, p *patience, events int16) error {
	for !f(uintptr(c.fd)) {
		p.fds[0] = unix.PollFd{Fd: int32(c.fd), Events: events}
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

func (p *patience) wait() error {
	ms := -1
	if !p.ends.IsZero() {
		left := time.Until(p.ends)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		ms = int(left/time.Millisecond) + 1
	}
	if _, err := unix.Poll(p.fds[:], ms); err != unix.EINTR {
		return err
	}
	return nil
}

// SetReadDeadline and SetWriteDeadline are called by who reads and who writes.
func (c *polledConn) SetReadDeadline(t time.Time) error  { c.in.ends = t; return nil }
func (c *polledConn) SetWriteDeadline(t time.Time) error { c.out.ends = t; return nil }

// Close ends all calls that are under way, and those to come. The descriptor
// stays until free: closing it under who uses it could hit another file.
func (c *polledConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return unix.Shutdown(c.fd, unix.SHUT_RDWR)
}

// free gives the descriptor back.
func (c *polledConn) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	unix.Close(c.fd)
}

// hungUp reports whether the other end is closed.
func (c *polledConn) hungUp() bool { return hungUp(c.fd) }
