package hold

import (
	"errors"
	"fmt"
	"time"

	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/tier"
	"aoe/initiator/guard"
)

// A Guarding says whether there is to be a guard on the disk's interface.
type Guarding uint8

// NoGuard is none, WantGuard one if that is possible and otherwise a warning,
// NeedGuard one or nothing at all.
const (
	NoGuard Guarding = iota
	WantGuard
	NeedGuard
)

// A Kernel is how the kernel is to help with the disk.
type Kernel struct {
	// Table has the filter of Disk.Link; Attach takes it. Nil: the link has
	// one of its own, and Why says why.
	Table *guard.Table
	Why   string
	// Unfiltered says that Table's filter is not used: the link has one of its own.
	Unfiltered bool
	// Guard, if not nil, is on the interface already, because Disk.Link is an
	// xdp.Link that gets its frames from it. Table was added to it, and Pulse is
	// what Add gave. Attach takes it.
	Guard *guard.Guard
	Pulse *guard.Pulse
	// Guarding, Allow and LowBytes are the guard's, see guard.Config.
	Guarding Guarding
	Allow    []guard.Rule
	LowBytes int64
}

// openGuard puts the guard on the interface and tells the disk's configuration
// what it has to tell the kernel. It comes before the disk is opened, and the
// guard begins with it.
func (h *Hold) openGuard() error {
	k := h.cfg.Kernel
	h.help = guard.Tier{Filter: guard.Classic, Guard: guard.None, Why: k.Why}
	if k.Table != nil {
		h.cfg.Disk.Tags = k.Table
	}
	if k.Table != nil && !k.Unfiltered {
		h.help.Filter = guard.Tags
	}
	if k.Guard != nil {
		h.help.Filter = guard.Steered
		h.guard = k.Guard
		if k.Guarding != NoGuard {
			h.cfg.Disk.Pulse = k.Pulse
		}
		return nil
	}
	if k.Guarding == NoGuard {
		return nil
	}
	err := h.guardInterface()
	if err == nil {
		return nil
	}
	if k.Guarding == NeedGuard {
		return err
	}
	h.help.Why = err.Error()
	h.cfg.Log.Warn("no guard on the interface: when memory is short, foreign frames go on taking it", "why", err)
	return nil
}

func (h *Hold) guardInterface() error {
	k := h.cfg.Kernel
	if len(h.cfg.Others) > 0 {
		return errors.New("hold: a guard is for one interface: attach over one, or without --guard")
	}
	if k.Table == nil {
		return fmt.Errorf("hold: a guard needs the table of tags: %s", k.Why)
	}
	g, err := guard.Open(guard.Config{Interface: h.cfg.Disk.Link.State().Name, Allow: k.Allow, LowBytes: k.LowBytes})
	if err != nil {
		return err
	}
	pulse, err := g.Add(k.Table)
	if err != nil {
		return errors.Join(err, g.Close())
	}
	h.guard, h.cfg.Disk.Pulse = g, pulse
	return nil
}

// setPressure is what an early warning of a shortage of memory does.
func (h *Hold) setPressure(on bool) {
	h.disk.SetPressure(on)
	if h.guard != nil && h.cfg.Kernel.Guarding != NoGuard {
		h.guard.SetPressure(on)
	}
}

// tendGuard looks after the guard when it is time to. changes is the link's
// generation when it was looked at last.
func (h *Hold) tendGuard(last *time.Time, changes *uint32) {
	now, is := time.Now(), h.cfg.Disk.Link.State().Generation
	if h.guard == nil || now.Sub(*last) < guard.TendInterval {
		return
	}
	if err := h.guard.Tend(is != *changes); err != nil {
		h.cfg.Log.Error("the guard", "why", err)
	}
	*last, *changes = now, is
}

// closeKernel takes the guard off the interface and closes the link and its
// filter. The disk was closed before.
func (h *Hold) closeKernel() error {
	var errs []error
	if h.guard != nil {
		errs = append(errs, h.guard.Close())
	}
	return errors.Join(append(errs, closeLink(h.cfg))...)
}

// kernelFacts adds to f what the kernel does.
func (h *Hold) kernelFacts(f *tier.Facts) {
	if h.help.Filter == guard.Tags || h.help.Filter == guard.Steered {
		f.Filter = tier.TagFilter
	}
	f.Memalloc = h.cfg.Via == "nbd-kernel"
	f.Guard = h.kernelTier().Guard == guard.Driver
}

// kernelTier is how the kernel helps now: a guard that is shared changes.
func (h *Hold) kernelTier() guard.Tier {
	t := h.help
	if h.guard != nil && h.cfg.Kernel.Guarding != NoGuard {
		is := h.guard.Tier()
		t.Guard, t.Why = is.Guard, is.Why
	}
	return t
}

// kernelStatus adds to the status how the kernel helps.
func (h *Hold) kernelStatus(s *rundir.Status) {
	s.Kernel = &rundir.Kernel{Tier: h.kernelTier()}
	if t := h.cfg.Kernel.Table; t != nil && h.cfg.Kernel.Guard == nil {
		st := t.Stats()
		s.Kernel.Filter = &st
	}
	if h.guard != nil && h.cfg.Kernel.Guarding != NoGuard {
		st := h.guard.Stats()
		s.Kernel.Guard = &st
	}
}
