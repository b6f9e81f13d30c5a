package guest

import (
	"errors"
	"fmt"
	"io"
	"os"

	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
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

// The hosts of the network.
const (
	targetHost = iota
	floodHost
	guestHost
	hosts
)

// A network is the hosts around the guest and the bridge between them.
type network struct{ *veth.Bridge }

func newNetwork(mtu, interfaces int) (n network, err error) {
	n.Bridge, err = veth.NewBridge(veth.Config{MTU: mtu}, hosts)
	if err != nil {
		return network{}, err
	}
	for i := range interfaces {
		port := n.Hosts[guestHost].Interface
		if i > 0 {
			port = fmt.Sprintf("port%d", i)
			err = n.addPath(port, i, mtu)
		}
		if err == nil {
			err = n.Hosts[guestHost].Do(func() error { return addTap(port, i, mtu) })
		}
		if err != nil {
			return network{}, errors.Join(fmt.Errorf("guest: %w", err), n.Close())
		}
	}
	return n, nil
}

// addPath makes a cable from the target's host, where it is the i-th interface,
// to the guest's.
func (n network) addPath(port string, i, mtu int) error {
	there := netns.None()
	defer func() { there.Close() }() // a descriptor that was only looked at
	err := n.Hosts[targetHost].Do(func() (err error) {
		there, err = netns.Get()
		return err
	})
	if err != nil {
		return fmt.Errorf("the target's namespace: %w", err)
	}
	mac := n.Hosts[targetHost].MAC
	mac[3] = byte(i)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = port, mtu
	err = n.Hosts[guestHost].Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: interfaceName(i), PeerHardwareAddr: mac[:], PeerNamespace: netlink.NsFd(there),
		})
	})
	if err != nil {
		return fmt.Errorf("make a cable to the target: %w", err)
	}
	return n.setTargetUp(i, true)
}

// setTargetUp takes the target's i-th interface down or up.
func (n network) setTargetUp(i int, up bool) error {
	set := netlink.LinkSetDown
	if up {
		set = netlink.LinkSetUp
	}
	err := n.Hosts[targetHost].Do(func() error {
		l, err := netlink.LinkByName(interfaceName(i))
		if err == nil {
			err = set(l)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("guest: set the target's %s up=%v: %w", interfaceName(i), up, err)
	}
	return nil
}

// addTap makes the i-th tap and a bridge that joins it to the interface, in the
// namespace of the calling thread.
func addTap(ifname string, i, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = fmt.Sprintf("br%d", i+1), mtu
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	attrs = netlink.NewLinkAttrs()
	attrs.Name = tapName(i)
	tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
	if err := netlink.LinkAdd(tap); err != nil {
		return fmt.Errorf("make a tap (is there a /dev/net/tun?): %w", err)
	}
	for _, name := range []string{ifname, tapName(i)} {
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
