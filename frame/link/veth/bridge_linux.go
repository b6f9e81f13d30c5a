package veth

import (
	"fmt"

	"aoe/frame"

	"github.com/vishvananda/netlink"
)

const bridgeName = "br0"

// NewBridge makes hosts and a learning switch between them, in a namespace of
// its own, and waits until all ends have a carrier.
func NewBridge(cfg Config, hosts int) (*Bridge, error) {
	b := &Bridge{}
	err := b.build(cfg, hosts)
	if err != nil {
		b.Close()
		return nil, explain(err)
	}
	return b, nil
}

func (b *Bridge) build(cfg Config, hosts int) error {
	var err error
	if b.switchboard, err = newNamespace(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	attrs.MTU = cfg.mtu()
	snooping := false // else the bridge asks for multicast groups
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := b.switchboard.nl.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	if err := b.switchboard.nl.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring the bridge up: %w", err)
	}
	for i := range hosts {
		if err := b.join(bridge, cfg, i); err != nil {
			return err
		}
	}
	for i, h := range b.Hosts {
		if err := h.waitCarrier(h.Interface); err != nil {
			return err
		}
		if err := b.switchboard.waitCarrier(portName(i)); err != nil {
			return err
		}
	}
	return nil
}

func portName(i int) string { return fmt.Sprintf("port%d", i) }

// join makes the i-th host and its cable to the bridge.
func (b *Bridge) join(bridge netlink.Link, cfg Config, i int) error {
	h, err := newHost(i)
	if err != nil {
		return err
	}
	b.Hosts = append(b.Hosts, h)
	// A number that differs from that of the port: see firstIndex.
	port := end{in: &b.switchboard, name: portName(i), mac: portMAC(i)}
	if err := makeCable(h.end(firstIndex+i), port, cfg.mtu()); err != nil {
		return err
	}
	link, err := b.switchboard.nl.LinkByName(portName(i))
	if err != nil {
		return fmt.Errorf("look at port %d: %w", i, err)
	}
	if err := b.switchboard.nl.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("put port %d on the bridge: %w", i, err)
	}
	if err := b.switchboard.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring port %d up: %w", i, err)
	}
	return h.SetUp(true)
}

// portMAC is the address of the bridge's end of the i-th cable.
func portMAC(i int) frame.MAC {
	m := hostMAC(i)
	m[1] = 0xbb
	return m
}

// Close removes all hosts and the bridge.
func (b *Bridge) Close() error {
	for _, h := range b.Hosts {
		h.close()
	}
	b.switchboard.close()
	return nil
}
