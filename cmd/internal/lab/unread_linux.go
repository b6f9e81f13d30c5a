package lab

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// OpenUnread opens a socket for frames of the foreign EtherType, with room for
// sizeBytes of them, that nobody will read: retention is what kills, not
// traffic. Closing it frees them, and who reads after all spoils it.
func OpenUnread(ifname string, sizeBytes int) (io.ReadCloser, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	// "protocol is the IEEE 802.3 protocol number in network byte order"
	// (packet(7)).
	const proto = ForeignEtherType>>8 | ForeignEtherType<<8&0xff00
	// Not blocking, so that closing it ends a Read.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, fmt.Errorf("lab: a socket that nobody reads: %w", err)
	}
	f := os.NewFile(uintptr(fd), "unread")
	// SO_RCVBUF is doubled for the kernel's own accounting (socket(7)).
	// SO_RCVBUFFORCE goes beyond net.core.rmem_max.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sizeBytes/2)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index})
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lab: a socket that nobody reads: %w", err)
	}
	return f, nil
}
