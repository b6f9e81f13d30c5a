package store

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpAfter ends a connection whose other side has not acknowledged anything
// for d.
//
// "TCP_USER_TIMEOUT ... the maximum amount of time in milliseconds that
// transmitted data may remain unacknowledged, or buffered data may remain
// untransmitted ... before TCP will forcibly close the corresponding connection
// and return ETIMEDOUT to the application" (tcp(7)).
func giveUpAfter(c *net.TCPConn, d time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); err != nil {
		return err
	}
	return set
}

// resetByPeer reports whether err is what the kernel says after the other side
// is gone.
func resetByPeer(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}
