package veth

import (
	"errors"
	"fmt"
	"net"
	"os"

	"aoe/frame"

	"github.com/vishvananda/netlink"
)

const interfaceName = "eth0"

// New makes two hosts and the cable between them, and waits until both ends
// have a carrier. Without permission the error wraps [os.ErrPermission].
func New(cfg Config) (*Pair, error) {
	p := &Pair{cfg: cfg, next: firstIndex}
	var err error
	if p.A, err = newHost(0); err == nil {
		p.B, err = newHost(1)
	}
	if err == nil {
		err = p.plug()
	}
	if err != nil {
		p.Close()
		return nil, explain(err)
	}
	return p, nil
}

// explain adds what to do about err.
func explain(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("veth: needs CAP_NET_ADMIN and CAP_SYS_ADMIN: run as root: %w", err)
	}
	return fmt.Errorf("veth: %w", err)
}

func newHost(i int) (*Host, error) {
	n, err := newNamespace()
	if err != nil {
		return nil, err
	}
	return &Host{Interface: interfaceName, MAC: hostMAC(i), namespace: n}, nil
}

// firstIndex is the index of the first interface of host A.
//
// In a fresh namespace the first interface is number 2, so both ends of a cable
// would be. The kernel takes an interface whose number is that of its peer
// for one that has no peer, and then reports its carrier up to a second late
// (linkwatch_urgent_event in net/core/link_watch.c compares ifindex and iflink).
const firstIndex = 100

// plug makes the cable and brings both ends up.
func (p *Pair) plug() error {
	if err := makeCable(p.A.end(p.next), p.B.end(0), p.cfg.mtu()); err != nil {
		return err
	}
	p.next++
	for _, h := range []*Host{p.A, p.B} {
		if err := h.SetUp(true); err != nil {
			return err
		}
	}
	for _, h := range []*Host{p.A, p.B} {
		if err := h.waitCarrier(h.Interface); err != nil {
			return err
		}
	}
	return nil
}

// An end of a cable, before it is made.
type end struct {
	in    *namespace
	name  string
	mac   frame.MAC
	index int // 0: the kernel chooses
}

func (h *Host) end(index int) end { return end{&h.namespace, h.Interface, h.MAC, index} }

// makeCable makes a pair of veth interfaces, each in its namespace, both down.
func makeCable(a, b end, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.name
	attrs.Index = a.index
	attrs.MTU = mtu
	attrs.HardwareAddr = net.HardwareAddr(a.mac[:])
	err := a.in.nl.LinkAdd(&netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         b.name,
		PeerHardwareAddr: net.HardwareAddr(b.mac[:]),
		PeerNamespace:    netlink.NsFd(b.in.ns),
	})
	if err != nil {
		return fmt.Errorf("make a veth pair with MTU %d: %w", mtu, err)
	}
	return nil
}

// Recreate pulls the cable out, interfaces and all, and plugs in a new one: the
// interfaces have the same names and addresses and A's has another index, as
// when a driver is loaded again.
func (p *Pair) Recreate() error {
	if err := p.Unplug(); err != nil {
		return err
	}
	if err := p.plug(); err != nil {
		return explain(err)
	}
	return nil
}

// Unplug removes the interfaces of both hosts. Recreate puts others in.
func (p *Pair) Unplug() error {
	link, err := p.A.nl.LinkByName(p.A.Interface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = p.A.nl.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("veth: remove the cable: %w", err)
	}
	return nil
}

// Close removes both hosts. Links that are still open in them stay valid and
// keep the namespace alive, but the cable is gone.
func (p *Pair) Close() error {
	var err error
	if p.A != nil && p.B != nil && p.A.nl != nil {
		err = p.Unplug()
	}
	for _, h := range []*Host{p.A, p.B} {
		if h != nil {
			h.close()
		}
	}
	return err
}

// SetUp sets the interface administratively up or down. The carrier of both
// ends follows shortly afterwards.
func (h *Host) SetUp(up bool) error {
	link, err := h.nl.LinkByName(h.Interface)
	if err == nil && up {
		err = h.nl.LinkSetUp(link)
	} else if err == nil {
		err = h.nl.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("veth: set %s up=%v: %w", h.Interface, up, err)
	}
	return nil
}

// SetMTU changes the MTU of the interface, in bytes without the Ethernet
// header. A frame is lost that is longer than the MTU of the end it arrives at.
func (h *Host) SetMTU(bytes int) error {
	link, err := h.nl.LinkByName(h.Interface)
	if err == nil {
		err = h.nl.LinkSetMTU(link, bytes)
	}
	if err != nil {
		return fmt.Errorf("veth: set the MTU of %s to %d: %w", h.Interface, bytes, err)
	}
	return nil
}

// Counters are the frames that the interface has sent and received since it
// was made, as the kernel counts them.
func (h *Host) Counters() (sent, received uint64, err error) {
	link, err := h.nl.LinkByName(h.Interface)
	if err != nil {
		return 0, 0, fmt.Errorf("veth: counters of %s: %w", h.Interface, err)
	}
	s := link.Attrs().Statistics
	return s.TxPackets, s.RxPackets, nil
}
