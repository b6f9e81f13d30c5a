package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lockDir holds a lock on a directory until what it returns is closed.
func lockDir(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, fmt.Errorf("guest: lock %s: %w", dir, err)
	}
	return f, nil
}

// dirPattern is the name of a machine's directory.
const dirPattern = "aoe-guest-*"

// newDir makes a directory that is ours until lock is closed, and removes those
// in the same place whose owners were killed: a lock ends with its process.
func newDir(parent string) (dir string, lock io.Closer, err error) {
	old, err := filepath.Glob(filepath.Join(parent, dirPattern))
	if err != nil {
		return "", nil, err
	}
	for _, path := range old {
		if f, err := tryLock(path); err == nil {
			err = errors.Join(os.RemoveAll(path), f.Close())
			if err != nil {
				return "", nil, fmt.Errorf("guest: remove what a guest that was killed left: %w", err)
			}
		}
	}
	// Another guest may take it for a dead one's in the moment before it is locked.
	for range 10 {
		if dir, err = os.MkdirTemp(parent, dirPattern); err != nil {
			return "", nil, fmt.Errorf("guest: %w", err)
		}
		if lock, err = tryLock(dir); err == nil {
			return dir, lock, nil
		}
	}
	return "", nil, fmt.Errorf("guest: lock a directory in %s: %w", parent, err)
}

// tryLock locks a directory of root's that nobody else may write to.
func tryLock(dir string) (io.Closer, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil, fmt.Errorf("%s is not a guest's directory: %w", dir, os.ErrPermission)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// tapName is the interface that QEMU is given, in the namespace of guestHost.
const tapName = "tap0"

// The hosts of the network.
const (
	targetHost = iota
	floodHost
	guestHost
	hosts
)

// A network is the hosts around the guest and the bridge between them.
type network struct{ *veth.Bridge }

func newNetwork(mtu int) (network, error) {
	b, err := veth.NewBridge(veth.Config{MTU: mtu}, hosts)
	if err != nil {
		return network{}, err
	}
	h := b.Hosts[guestHost]
	if err := h.Do(func() error { return addTap(h.Interface, mtu) }); err != nil {
		b.Close()
		return network{}, fmt.Errorf("guest: %w", err)
	}
	return network{b}, nil
}

// addTap makes the tap and a bridge that joins it to the interface, in the
// namespace of the calling thread.
func addTap(ifname string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "br1", mtu
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	attrs = netlink.NewLinkAttrs()
	attrs.Name = tapName
	tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
	if err := netlink.LinkAdd(tap); err != nil {
		return fmt.Errorf("make a tap (is there a /dev/net/tun?): %w", err)
	}
	for _, name := range []string{ifname, tapName} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetMTU(l, mtu)
		}
		if err == nil {
			err = netlink.LinkSetMaster(l, bridge)
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return fmt.Errorf("put %s on the bridge: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring the bridge up: %w", err)
	}
	return nil
}

// open opens a link on one of the hosts.
func (n network) open(host int) (l link.Link, err error) {
	h := n.Hosts[host]
	err = h.Do(func() (err error) {
		l, err = open.Open(h.Interface)
		return err
	})
	return l, err
}
