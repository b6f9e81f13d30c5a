package attach

import (
	"sync/atomic"
	"time"

	"aoe/frame/link/turn"

	"golang.org/x/sys/unix"
)

// A blockingConn is a socket whose calls block the thread that makes them. The
// threads that serve the kernel are their goroutines' own: so nobody else has
// to run for them to go on, neither the runtime's poller nor another thread
// that happens to be idle.
type blockingConn struct {
	fd     int
	closed atomic.Bool

	in, out turn.Turn // of the goroutine that reads, and of the one that writes
}

// newBlockingStream takes ownership of the socket, which must be a blocking
// one. When both directions are at rest, free gives it back.
func newBlockingStream(fd int) *stream {
	c := &blockingConn{fd: fd}
	s := &stream{conn: c, raw: c, stall: -1}
	s.in.prepare(unix.SYS_READV)
	s.out.prepare(unix.SYS_WRITEV)
	return s
}

// Read and Write are those of a syscall.RawConn: they call f until it returns
// true.
func (c *blockingConn) Read(f func(fd uintptr) bool) error  { return c.until(&c.in, f) }
func (c *blockingConn) Write(f func(fd uintptr) bool) error { return c.until(&c.out, f) }

func (c *blockingConn) until(t *turn.Turn, f func(fd uintptr) bool) error {
	for done := false; !done; done = f(uintptr(c.fd)) {
		t.Yield()
	}
	return nil
}

// Close ends all calls that are under way, and those to come. The descriptor
// stays until free: closing it under who uses it could hit another file.
func (c *blockingConn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return unix.Shutdown(c.fd, unix.SHUT_RDWR)
}

// free gives the descriptor back.
func (c *blockingConn) free() { unix.Close(c.fd) }

// hungUp reports whether the other end is closed.
func (c *blockingConn) hungUp() bool { return hungUp(c.fd) }

func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err != nil || n > 0
	}
}

// SetReadDeadline and SetWriteDeadline are not called: the stream does not give
// up a peer that stalls, which is the kernel.
func (c *blockingConn) SetReadDeadline(time.Time) error  { return unix.EOPNOTSUPP }
func (c *blockingConn) SetWriteDeadline(time.Time) error { return unix.EOPNOTSUPP }
