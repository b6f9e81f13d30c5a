package nic

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"aoe/frame"

	"golang.org/x/sys/unix"
)

// An Observer watches one interface, by index as long as that exists, then by
// the name it was opened with: so it follows one that is renamed, and finds one
// that has been deleted and made again.
type Observer struct {
	name  string
	index int
	// fd is an rtnetlink(7) socket, subscribed to changes of interfaces. The
	// requests of netdevice(7) go through it too, "on any socket's file
	// descriptor regardless of the family or type": the one of a namespace.
	fd  int
	buf [8 << 10]byte
}

// Open finds the interface in the network namespace of the calling thread.
func Open(name string) (*Observer, Info, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, Info{}, fmt.Errorf("netlink socket: %w", err)
	}
	o := &Observer{name: name, fd: fd}
	// Subscribe first and look afterwards: no change in between is missed.
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK})
	if err != nil {
		o.Close()
		return nil, Info{}, fmt.Errorf("subscribe to changes of interfaces: %w", err)
	}
	ifi, err := find(name)
	if err != nil {
		o.Close()
		return nil, Info{}, err
	}
	o.index = ifi.Index
	return o, infoOf(ifi), nil
}

// Close ends the observation.
func (o *Observer) Close() error {
	err := unix.Close(o.fd)
	o.fd = -1
	return err
}

// FD is a file descriptor that is readable when Changed is true.
func (o *Observer) FD() int { return o.fd }

// Changed reports whether some interface may have changed since the last call.
// It does not allocate.
func (o *Observer) Changed() bool {
	changed := false
	for {
		// What the messages say does not matter, and neither do those that were
		// lost for want of room (ENOBUFS): the caller looks at what is now.
		n, err := unix.Read(o.fd, o.buf[:])
		switch {
		case err == unix.EINTR:
		case err == unix.ENOBUFS:
			changed = true
		case err != nil || n <= 0:
			return changed
		default:
			changed = true
		}
	}
}

// Look looks at the interface. An Info that does not exist is no error.
func (o *Observer) Look() (Info, error) {
	info, err := o.look()
	if errors.Is(err, unix.ENODEV) {
		return Info{}, nil // there was none, or it went while we looked
	}
	if err != nil {
		return Info{}, fmt.Errorf("look at interface %s: %w", o.name, err)
	}
	o.index = info.Index
	return info, nil
}

func (o *Observer) look() (Info, error) {
	info := Info{Index: o.index, Name: o.name}
	byIndex := ifreq{}
	byIndex.putInt(o.index)
	switch err := o.ask(unix.SIOCGIFNAME, &byIndex); err {
	case nil:
		info.Name = byIndex.getName()
	case unix.ENODEV:
		byName := newIfreq(o.name)
		if err := o.ask(unix.SIOCGIFINDEX, &byName); err != nil {
			return Info{}, err
		}
		info.Index = byName.getInt()
	default:
		return Info{}, err
	}
	req := newIfreq(info.Name)
	if err := o.ask(unix.SIOCGIFMTU, &req); err != nil {
		return Info{}, err
	}
	info.MTU = req.getInt()
	req = newIfreq(info.Name)
	if err := o.ask(unix.SIOCGIFHWADDR, &req); err != nil {
		return Info{}, err
	}
	info.MAC = req.getMAC()
	req = newIfreq(info.Name)
	if err := o.ask(unix.SIOCGIFFLAGS, &req); err != nil {
		return Info{}, err
	}
	flags := req.getFlags()
	info.Up = flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
	return info, nil
}

// ifreq is struct ifreq of netdevice(7): a name, and a union that begins with
// what was asked for.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func newIfreq(name string) (r ifreq) {
	copy(r.name[:unix.IFNAMSIZ-1], name)
	return r
}

func (r *ifreq) getName() string {
	name, _, _ := bytes.Cut(r.name[:], []byte{0})
	return string(name)
}

func (r *ifreq) getInt() int       { return int(*(*int32)(unsafe.Pointer(&r.data))) }
func (r *ifreq) putInt(v int)      { *(*int32)(unsafe.Pointer(&r.data)) = int32(v) }
func (r *ifreq) getFlags() uint16  { return *(*uint16)(unsafe.Pointer(&r.data)) }
func (r *ifreq) getMAC() frame.MAC { return frame.MAC(r.data[2:8]) } // behind sa_family

func (o *Observer) ask(request uintptr, r *ifreq) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(o.fd), request, uintptr(unsafe.Pointer(r)))
	if errno != 0 {
		return errno
	}
	return nil
}
