package main

import (
	"errors"
	"slices"
	"time"

	"aoe/cmd/internal/hold"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/initiator/attach"
	"aoe/initiator/engine"
	"aoe/initiator/guard"
)

// The step of --swap-safe that is taken here.
const (
	linkStep    = "link"
	linkDid     = "AF_XDP: answers reach this process before the kernel allocates memory for them"
	linkCosts   = "the kernel may drop answers, and the machine hang: with its NBD client, AoE that was received into its emergency memory never reaches a packet socket"
	linkRemedy  = "root (CAP_BPF, CAP_NET_ADMIN), and one disk to an interface; or --via ublk, which does not need it"
	nbdInKernel = "nbd-kernel"
)

// openPort opens the interface for a disk. With --link xdp, and where the machine is
// to swap through the kernel's NBD client, that is AF_XDP; otherwise, and in the
// second case if AF_XDP cannot be had, a ring.
func (c *attachConfig) openPort(addr frame.Addr) (link.Link, hold.Kernel, error) {
	if c.ifname == "" || c.linkKind != open.XDP && !c.needsXDP() {
		return c.openFiltered(addr)
	}
	l, k, err := c.openSteered(addr)
	if c.linkKind == open.XDP {
		return l, k, err
	}
	c.process.Note(linkStep, linkDid, err, linkCosts, linkRemedy)
	if err == nil {
		return l, k, nil
	}
	return c.openFiltered(addr)
}

// needsXDP is whether the kernel would drop answers when memory is short.
func (c *attachConfig) needsXDP() bool {
	if c.swapSafe == swapSafeOff || c.linkKind != open.Best || !slices.Contains(open.Kinds(), open.XDP) {
		return false
	}
	return c.way() == nbdInKernel
}

// way is how the disk will be attached, by name.
func (c *attachConfig) way() string {
	if c.via != "" {
		return c.via
	}
	w, _ := attach.DefaultWay()
	return w.Name
}

// openSteered opens AF_XDP sockets that the guard's program steers the disk's
// answers to. The guard guards nothing unless it is asked to.
func (c *attachConfig) openSteered(addr frame.Addr) (_ link.Link, k hold.Kernel, err error) {
	defer func() {
		if err == nil {
			return
		}
		if k.Guard != nil {
			err = errors.Join(err, k.Guard.Close())
		}
		if k.Table != nil {
			err = errors.Join(err, k.Table.Close())
		}
		k = hold.Kernel{}
	}()
	if k.Table, err = guard.NewTable(addr, engine.DefaultSlots); err != nil {
		return nil, k, err
	}
	if k.Guard, err = guard.Open(guard.Config{Interface: c.ifname, Allow: c.guardAllow, LowBytes: int64(c.guardLow)}); err != nil {
		return nil, k, err
	}
	if k.Pulse, err = k.Guard.Add(k.Table); err != nil {
		return nil, k, err
	}
	l, err := open.With(open.Config{Interface: c.ifname, Kind: open.XDP, Poll: time.Duration(c.poll), Steer: k.Guard.Steer(k.Table)})
	return l, k, err
}

// openFiltered opens the interface for one disk, with the filter that knows its
// tags if there may be one.
func (c *attachConfig) openFiltered(addr frame.Addr) (link.Link, hold.Kernel, error) {
	var k hold.Kernel
	name, kind := c.ifname, c.linkKind
	if kind == open.Raw || open.Kinds()[0] == open.Raw {
		l, err := openLink(name, kind)
		k.Why = "the raw link has a classic filter only: --link ring"
		return l, k, err
	}
	table, err := guard.NewTable(addr, engine.DefaultSlots)
	if err != nil {
		l, lerr := openLink(name, kind)
		k.Why = err.Error()
		return l, k, lerr
	}
	k.Table = table
	ring := open.Config{Interface: name, Kind: open.Ring, Poll: time.Duration(c.poll), FilterFD: table.FilterFD()}
	if slices.Contains(c.without, filterStep) {
		// The guard needs the table all the same.
		k.Unfiltered, k.Why, ring.FilterFD = true, "left out", 0
	}
	if name == "" || kind != open.Best && kind != open.Ring {
		_, err = openLink(name, kind) // says what is wrong with the words
	}
	var l link.Link
	if err == nil {
		l, err = open.With(ring)
	}
	if err != nil {
		return nil, hold.Kernel{}, errors.Join(err, table.Close())
	}
	return l, k, nil
}
