package guest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// capture calls f with every frame of AoE that passes the guest's first tap,
// either way, until end is called.
func (n network) capture(f func([]byte)) (end func(), err error) {
	var tap *os.File
	err = n.Hosts[guestHost].Do(func() (err error) {
		tap, err = openTap(tapName(0))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("guest: capture: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // ends with tap
		buf := make([]byte, 1<<16)
		for {
			n, err := tap.Read(buf)
			if err != nil {
				return
			}
			if n > 14 && buf[12] == unix.ETH_P_AOE>>8 && buf[13] == unix.ETH_P_AOE&0xff {
				f(buf[:n])
			}
		}
	})
	return func() {
		tap.Close() // nothing was written to it
		wg.Wait()
	}, nil
}

// openTap opens a socket for all frames of the interface. Only one that asks for
// all protocols is shown those that the interface sends.
func openTap(name string) (*os.File, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "capture")
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
