package attach

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenConfig makes sockets that only their owner can connect to.
func listenConfig() net.ListenConfig { return net.ListenConfig{Control: privateSocket} }

// privateSocket makes the file that bind will make accessible to its owner
// alone, without a moment in which it is not. unix(7): a new socket's
// permissions are those of the socket's own inode, less the umask; changing
// them afterwards would leave a gap, changing the umask would concern the
// whole process.
func privateSocket(_, _ string, raw syscall.RawConn) error {
	var err error
	cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) })
	if cerr != nil {
		return cerr
	}
	return err
}
