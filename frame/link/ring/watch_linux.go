package ring

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"aoe/frame"
	"aoe/frame/link"
)

// A watcher is a netlink socket that tells of changes of interfaces.
type watcher struct {
	fd    int
	index int // of the interface that the sockets are bound to; 0 if it is gone
	buf   [16 << 10]byte
}

func openWatch() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("ring: netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("ring: watching interfaces: %w", err)
	}
	return fd, nil
}

// stateOf is what Open publishes first.
func stateOf(ifi *net.Interface) link.State {
	s := link.State{Name: ifi.Name, MTU: ifi.MTU, Up: ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagRunning != 0}
	copy(s.MAC[:], ifi.HardwareAddr)
	return s
}

// follow reads what the watcher has been told and follows it. It allocates:
// interfaces do not change on the data path.
func (l *Link) follow() error {
	for {
		n, _, err := unix.Recvfrom(l.watch.fd, l.watch.buf[:], 0)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			// More changes than the socket holds: some were lost, the next
			// one repeats all attributes.
			continue
		case err != nil:
			return fmt.Errorf("ring: watching interfaces: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(l.watch.buf[:n])
		if err != nil {
			return fmt.Errorf("ring: watching interfaces: %w", err)
		}
		for i := range messages {
			if err := l.followOne(&messages[i]); err != nil {
				return err
			}
		}
	}
}

// A change is what one message of rtnetlink(7) says of an interface.
type change struct {
	index int
	name  string
	gone  bool
	up    bool
	mtu   int
	mac   frame.MAC
}

func parseChange(m *syscall.NetlinkMessage) (change, error) {
	// struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4).
	if len(m.Data) < unix.SizeofIfInfomsg {
		return change{}, errors.New("ring: short ifinfomsg")
	}
	c := change{
		index: int(int32(nativeUint32(m.Data[4:]))),
		gone:  m.Header.Type == unix.RTM_DELLINK,
	}
	flags := nativeUint32(m.Data[8:])
	c.up = flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return change{}, fmt.Errorf("ring: attributes of an interface: %w", err)
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.IFLA_IFNAME && len(a.Value) > 0:
			c.name = string(a.Value[:len(a.Value)-1]) // without the final NUL
		case a.Attr.Type == unix.IFLA_MTU && len(a.Value) == 4:
			c.mtu = int(nativeUint32(a.Value))
		case a.Attr.Type == unix.IFLA_ADDRESS && len(a.Value) == len(c.mac):
			c.mac = frame.MAC(a.Value)
		}
	}
	return c, nil
}

func (l *Link) followOne(m *syscall.NetlinkMessage) error {
	if t := m.Header.Type; t != unix.RTM_NEWLINK && t != unix.RTM_DELLINK {
		return nil
	}
	c, err := parseChange(m)
	if err != nil {
		return err
	}
	if c.gone {
		if c.index == l.watch.index {
			s := l.State()
			s.Up = false
			l.watch.index = 0
			l.setState(s)
		}
		return nil
	}
	if c.name != l.cfg.Interface {
		return nil
	}
	if err := l.rebind(c); err != nil {
		return err
	}
	l.setState(link.State{Name: c.name, MAC: c.mac, MTU: c.mtu, Up: c.up})
	return nil
}

// rebind binds the sockets to the interface that has our name now, and makes
// the ring anew if its slots have become too small. The interface may be gone
// again by now: that will be the next message.
func (l *Link) rebind(c change) error {
	tooSmall := c.mtu > l.rx.geo.mtu()
	if c.index == l.watch.index && !tooSmall {
		return nil
	}
	if err := bindSender(l.tx, c.index); err != nil {
		return ignoreGone(err)
	}
	if !tooSmall {
		if err := l.rx.bind(c.index); err != nil {
			return ignoreGone(err)
		}
		l.watch.index = c.index
		return nil
	}
	rx, err := openReceiver(l.cfg, c.index, c.mtu)
	if err != nil {
		return ignoreGone(err)
	}
	l.recvStats() // of the old socket
	l.fdMu.Lock() // Stats reads rx.fd
	old := l.rx
	l.rx = rx
	l.fdMu.Unlock()
	l.watch.index = c.index
	return old.close()
}

// ignoreGone turns the failure to use an interface that is gone into nothing.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil
	}
	return err
}

// recvStats adds the kernel's counters, which are reset by reading them.
func (l *Link) recvStats() {
	l.fdMu.RLock()
	defer l.fdMu.RUnlock()
	if l.rx.fd < 0 {
		return
	}
	if drops, err := kernelDrops(l.rx.fd); err == nil {
		l.counted.kernelDropped.Add(uint64(drops))
	}
}

// release closes everything that is open. Nobody else uses the Link any more.
func (l *Link) release() error {
	err := l.rx.close()
	for _, fd := range []*int{&l.tx, &l.wakeFD, &l.watch.fd} {
		if *fd >= 0 {
			if e := unix.Close(*fd); err == nil {
				err = e
			}
			*fd = -1
		}
	}
	return err
}
