package guest

import (
	"fmt"
	"io"
	"os"

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
