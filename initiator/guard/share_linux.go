package guard

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An interface can have one XDP program, and every process that holds a disk
// there needs one. So the first attaches it, and the others find its maps
// through it and add their disks: each process beats its own pulse, in memory
// that they share. When the one that holds the attachment ends, whoever notices
// first attaches the program anew, with the same maps. What a process that died
// has left in them, the others clear away: until then its silence keeps the
// guard in crunch.

// programName is what our program is known by.
const programName = "aoe_guard"

// Attach modes of linux/if_link.h.
const (
	xdpAttachedDriver  = 1 // XDP_ATTACHED_DRV
	xdpAttachedGeneric = 2 // XDP_ATTACHED_SKB
)

// An other is another process, and a descriptor that tells when it has ended.
type other struct {
	pid uint64
	fd  int // pidfd_open(2); valid if pid is not 0
}

// ended reports whether the process pid has ended.
func (o *other) ended(pid uint64) bool {
	if o.pid != pid {
		if err := o.close(); err != nil {
			return false
		}
		fd, err := unix.PidfdOpen(int(pid), 0)
		if err != nil {
			return errors.Is(err, unix.ESRCH)
		}
		o.pid, o.fd = pid, fd
	}
	// "The file descriptor becomes readable when the process terminates"
	// (pidfd_open(2)).
	poll := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

func (o *other) close() error {
	if o.pid == 0 {
		return nil
	}
	fd := o.fd
	*o = other{}
	return unix.Close(fd)
}

// join makes use of the guard that another process has put on the interface.
func (g *Guard) join() error {
	l, err := netlink.LinkByName(g.cfg.Interface)
	if err != nil {
		return err
	}
	xdp := l.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return errors.New("it is gone again: try once more")
	}
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(xdp.ProgId))
	if err != nil {
		return fmt.Errorf("program %d: CAP_SYS_ADMIN is needed: %w", xdp.ProgId, err)
	}
	defer p.Close() // it is read only
	info, err := p.Info()
	if err != nil {
		return err
	}
	ids, _ := info.MapIDs()
	if info.Name != programName || len(ids) == 0 {
		return fmt.Errorf("program %d, %q, is no guard", xdp.ProgId, info.Name)
	}
	if err := g.closeMaps(); err != nil { // our own, which nobody has seen
		return err
	}
	g.maps.disks, g.maps.pulse, g.maps.counters, g.maps.sockets = nil, nil, nil, nil
	if err := g.shareMaps(ids); err != nil {
		return err
	}
	g.shared, g.index = true, l.Attrs().Index
	g.why = fmt.Sprintf("shares the guard of process %d, with that one's allow list", g.words.load(wordHolder))
	switch xdp.AttachMode {
	case xdpAttachedDriver:
		g.mode = Driver
	case xdpAttachedGeneric:
		g.mode = Generic
	default:
		return fmt.Errorf("program %d is attached in mode %d", xdp.ProgId, xdp.AttachMode)
	}
	return nil
}

// shareMaps opens the maps of another process's program.
func (g *Guard) shareMaps(ids []ebpf.MapID) error {
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return err
		}
		switch m.Type() {
		case ebpf.HashOfMaps:
			g.maps.disks = m
		case ebpf.Array:
			g.maps.pulse = m
		case ebpf.PerCPUArray:
			g.maps.counters = m
		case ebpf.XSKMap:
			g.maps.sockets = m
		default:
			return errors.Join(fmt.Errorf("it has a map of type %v", m.Type()), m.Close())
		}
	}
	if g.maps.disks == nil || g.maps.pulse == nil || g.maps.counters == nil || g.maps.pulse.ValueSize() != 8*pulseWords ||
		g.maps.counters.MaxEntries() != uint32(guardVerdicts) {
		return errors.New("it is a guard of another version of this program")
	}
	var err error
	if g.words, err = mapWords(g.maps.pulse.FD(), pulseWords); err != nil {
		return err
	}
	if n := g.words.load(wordLayout); n != layout {
		return fmt.Errorf("it is a guard of another version of this program: layout %d, not %d", n, layout)
	}
	return nil
}

// TendInterval is how often Tend should be called.
const TendInterval = time.Second

// Tend looks after a guard that is shared: it clears away the disks of processes
// that have died, and puts the guard back on the interface when the process that
// held it has ended, or when the interface was made anew. Without any of that it
// asks the kernel for nothing but whether those processes live.
func (g *Guard) Tend(interfaceChanged bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	self := uint64(os.Getpid())
	var errs []error
	for i := range MaxDisks {
		owner := g.words.load(wordOwner(i))
		// A process of another PID namespace seems dead from here, but beats.
		if owner != 0 && owner != self && g.isStale(i) && g.others[i].ended(owner) {
			errs = append(errs, g.clear(i), g.others[i].close())
		}
	}
	if g.shared {
		holder := g.words.load(wordHolder)
		if holder == 0 || holder != self && g.others[MaxDisks].ended(holder) {
			errs = append(errs, g.attachAgain())
		}
	} else if interfaceChanged || g.link == nil {
		errs = append(errs, g.follow())
	}
	return errors.Join(errs...)
}

// attachAgain attaches the program with the maps that there are.
func (g *Guard) attachAgain() error {
	l, err := netlink.LinkByName(g.cfg.Interface)
	if err != nil {
		return err
	}
	err = g.attach(l.Attrs().Index)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return nil // another was faster
	}
	return err
}

// follow attaches the program to an interface that has taken the other's place.
func (g *Guard) follow() error {
	l, err := netlink.LinkByName(g.cfg.Interface)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil // it will be back, or not
	}
	if err != nil || l.Attrs().Index == g.index {
		return err
	}
	if g.link != nil { // of no more use, but it goes only with its descriptor
		err = g.link.Close()
		g.link = nil
	}
	return errors.Join(err, g.attach(l.Attrs().Index))
}

// isStale reports whether disk i's loop has not been heard of for too long.
func (g *Guard) isStale(i int) bool {
	beat := g.words.load(wordBeat(i))
	return beat == 0 || time.Duration(g.clock.now()-beat) > g.cfg.Stale
}
