package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/tier"
	"aoe/initiator"
	"aoe/reserve"
	"aoe/reserve/harden"
)

// harden sets what a process that is to be sealed needs of its disk.
func (c *Config) harden() {
	if c.Harden == nil {
		return
	}
	c.Disk.LockMemory = true
	c.Disk.OnThread = c.Harden.OnThread
	c.OnThread = c.Harden.OnThread
}

// seal is the last step before the device is made: nothing can depend on this
// process until then, so that its needs of memory can still be met.
func (h *Hold) seal(ctx context.Context) error {
	if h.cfg.Harden == nil {
		return nil
	}
	return h.cfg.Harden.Seal(func() error {
		return errors.Join(rehearse(ctx, h.cfg.Disk), h.rehearseDisk(ctx))
	})
}

// rehearseDisk reads the disk and flushes it, through the real link. What must
// not be done to a disk that others may be using is done by rehearse.
func (h *Hold) rehearseDisk(ctx context.Context) error {
	p := make([]byte, min(int64(h.disk.MaxRequest()), h.disk.Size()))
	if _, err := h.disk.Read(ctx, p, 0); err != nil {
		return err
	}
	return h.flush(ctx)
}

// sealed follows when the device is there. From here on the log is silent: it may
// be on the disk that is served here. aoe stat tells what it would have told.
func (h *Hold) sealed() error {
	if h.cfg.Harden == nil {
		return nil
	}
	if err := h.cfg.Harden.Err(); err != nil { // of threads that the device has started
		return err
	}
	w, err := harden.WatchPressure(harden.PressureConfig{Tell: h.setPressure})
	if err != nil {
		h.cfg.Log.Warn("no early warning of a shortage of memory", "why", err)
	}
	h.pressure = w
	h.cfg.Log = slog.New(slog.DiscardHandler)
	return nil
}

// housekeep lets the sealed process collect its heap while all is well.
func (h *Hold) housekeep() {
	if h.cfg.Harden == nil || h.pressure != nil && h.pressure.Stats().On {
		return
	}
	if st := h.disk.Stats(); st.Reserve.Regime == reserve.Normal && st.State.Condition == initiator.Up {
		h.cfg.Harden.Housekeep()
	}
}

// endWatch ends the early warning.
func (h *Hold) endWatch() error {
	if h.pressure == nil {
		return nil
	}
	if err := h.pressure.Close(); err != nil {
		return fmt.Errorf("hold: the early warning had ended: %w", err)
	}
	return nil
}

// tier is what is guaranteed to the disk.
func (h *Hold) tier() tier.Tier {
	f := h.cfg.Facts
	h.kernelFacts(&f)
	f.ArenaLocked = h.cfg.Disk.LockMemory
	if h.cfg.Harden != nil {
		steps := h.cfg.Harden.Steps()
		f.ProcessLocked, f.IOFlusher = steps.Done(harden.Lock), steps.Done(harden.IOFlusher)
	}
	return tier.Of(f)
}

// guarantees adds to the status what holds when memory runs out.
func (h *Hold) guarantees(s *rundir.Status) {
	t := h.tier()
	s.Tier = &t
	if h.cfg.Harden == nil {
		return
	}
	s.Hardening = &rundir.Hardening{Steps: h.cfg.Harden.Steps()}
	if n, known := h.cfg.Harden.ThreadsMade(); known {
		s.Hardening.ThreadsMade = &n
	}
	if h.pressure != nil {
		st := h.pressure.Stats()
		s.Hardening.Pressure = &st
	}
}
