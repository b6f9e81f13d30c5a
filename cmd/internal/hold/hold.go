package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"aoe/cmd/internal/rundir"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/initiator/guard"
	"aoe/reserve/harden"
)

// ErrInUse says that a disk was not detached because somebody uses it; the
// error that wraps it says who.
var ErrInUse = attach.ErrInUse

// A front is what shows the disk to the machine.
type front interface {
	path() string
	close(ctx context.Context) error
	abandon(ctx context.Context) error
	resize() error
	done() <-chan struct{}
	stats(*rundir.Status)
}

// A Hold is an attached disk.
type Hold struct {
	cfg    Config
	disk   *initiator.Disk
	front  front
	server *rundir.Server
	began  time.Time
	ready  chan struct{} // closed when all of the above is there

	pressure *harden.Pressure // nil without cfg.Harden
	guard    *guard.Guard     // nil if there is none
	help     guard.Tier       // how the kernel helps

	stop     context.CancelFunc // ends watch
	watching sync.WaitGroup
	detached chan struct{} // closed when the device is gone

	detaching chan struct{} // holds a token: one Detach at a time
}

// Attach attaches the disk. ctx is for attaching, not for the life of it.
func Attach(ctx context.Context, cfg Config) (_ *Hold, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, errors.Join(err, closeLink(cfg))
	}
	h := &Hold{
		cfg: cfg, began: time.Now(), ready: make(chan struct{}),
		detached: make(chan struct{}), detaching: make(chan struct{}, 1),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.undo(context.WithoutCancel(ctx)))
		}
	}()
	// The address first: another process that has it must not be disturbed.
	if h.server, err = rundir.Listen(cfg.Dir, cfg.Disk.Addr, h); err != nil {
		return nil, err
	}
	claimed := time.Now() // whoever had it before is dead
	if err = h.openGuard(); err != nil {
		return nil, err
	}
	if h.disk, err = initiator.Open(ctx, h.cfg.Disk); err != nil {
		return nil, err
	}
	if err = outlive(ctx, cfg, claimed); err != nil {
		return nil, err
	}
	if err = h.seal(ctx); err != nil {
		return nil, err
	}
	if h.front, err = newFront(ctx, cfg, attach.Over(h.disk)); err != nil {
		return nil, err
	}
	if err = h.sealed(); err != nil {
		return nil, err
	}
	watch, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.watching.Go(func() { h.watch(watch) })
	close(h.ready)
	return h, nil
}

// outlive waits until no frame of a process that died before can be on its way
// any more: a late copy of one of its writes would undo a newer one (H1), which
// this process's engine, knowing nothing of it, could not hold back.
func outlive(ctx context.Context, cfg Config, died time.Time) error {
	if !cfg.TakeOver {
		return nil
	}
	select {
	case <-time.After(time.Until(died.Add(cfg.Disk.FrameLife))):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hold: waiting for the frames of the process that died: %w", ctx.Err())
	}
}

// interfaces are the names of all.
func (c Config) interfaces() string {
	names := c.Disk.Link.State().Name
	for _, p := range c.Others {
		names += "," + p.Link.State().Name
	}
	return names
}

// CloseLinks closes what Attach would have taken, where it is not called.
func (c Config) CloseLinks() error { return closeLink(c) }

// closeLink closes the link, and then its filter or the guard that it got frames
// from.
func closeLink(cfg Config) error {
	var errs []error
	if cfg.Disk.Link != nil {
		errs = append(errs, cfg.Disk.Link.Close())
	}
	for _, p := range cfg.Others {
		errs = append(errs, p.Close())
	}
	if cfg.Kernel.Guard != nil {
		errs = append(errs, cfg.Kernel.Guard.Close())
	}
	if cfg.Kernel.Table != nil {
		errs = append(errs, cfg.Kernel.Table.Close())
	}
	return errors.Join(errs...)
}

// Device is the path of the block device or of the socket.
func (h *Hold) Device() string { return h.front.path() }

// Disk is the disk that is attached, for its counters.
func (h *Hold) Disk() *initiator.Disk { return h.disk }

// Detached is closed when the device is gone, by Detach or by itself.
func (h *Hold) Detached() <-chan struct{} { return h.detached }

// Status implements rundir.Handler.
func (h *Hold) Status() rundir.Status {
	s := rundir.Status{
		Addr: h.cfg.Disk.Addr, Via: h.cfg.Via, Interface: h.cfg.interfaces(),
		ReadOnly: h.cfg.ReadOnly, State: "attaching", PID: os.Getpid(), Since: h.began,
	}
	select {
	case <-h.ready:
	default:
		return s
	}
	st := h.disk.Stats()
	id := h.disk.Identify()
	s.Device, s.SizeBytes = h.front.path(), h.disk.Size()
	s.State, s.Reason = string(st.State.Condition), st.State.Why
	s.Model, s.Serial, s.Stats = id.Model, id.Serial, &st
	h.front.stats(&s)
	h.guarantees(&s)
	h.kernelStatus(&s)
	return s
}

// Detach implements rundir.Handler: it makes everything durable that was
// written, and takes the device away. It returns ErrInUse, wrapped, while
// somebody uses the device; nothing has changed then.
func (h *Hold) Detach(ctx context.Context) error {
	return h.end(ctx, func(ctx context.Context) error { return h.front.close(ctx) })
}

// Abandon takes the device away whether it is in use or not: who uses it gets
// I/O errors, and what was not written yet is lost.
func (h *Hold) Abandon(ctx context.Context) error {
	return h.end(ctx, func(ctx context.Context) error { return h.front.abandon(ctx) })
}

func (h *Hold) end(ctx context.Context, closeFront func(context.Context) error) error {
	select {
	case <-h.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case h.detaching <- struct{}{}:
		defer func() { <-h.detaching }()
	case <-ctx.Done():
		return fmt.Errorf("hold: being detached already: %w", ctx.Err())
	}
	select {
	case <-h.detached:
		return nil
	default:
	}
	if err := closeFront(ctx); err != nil {
		return err
	}
	err := h.flush(ctx)
	close(h.detached)
	return err
}

// flush makes durable what the target has only in its cache. A disk that is
// down has nothing that could be flushed.
func (h *Hold) flush(ctx context.Context) error {
	if !h.disk.Identify().WriteCache || h.disk.State().Condition == initiator.IsDown {
		return nil
	}
	if err := h.disk.Flush(ctx); err != nil {
		return fmt.Errorf("hold: detached, but the last flush failed: what was written may be lost: %w", err)
	}
	return nil
}

// Close takes everything away that Detach left: the disk, the link and the
// entry in the run directory. While the disk is attached it abandons it.
func (h *Hold) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	select {
	case <-h.detached:
	default:
		return errors.Join(h.Abandon(ctx), h.undo(ctx))
	}
	return h.undo(ctx)
}

// closeTimeout bounds what a dead target can delay.
const closeTimeout = 10 * time.Second

// undo removes what was made, the last first.
func (h *Hold) undo(ctx context.Context) error {
	var errs []error
	if h.stop != nil {
		h.stop()
		h.watching.Wait()
	}
	if h.front != nil {
		select {
		case <-h.detached:
		default:
			errs = append(errs, h.front.abandon(ctx))
		}
	}
	errs = append(errs, h.endWatch())
	if h.disk != nil {
		errs = append(errs, h.disk.Close())
	}
	errs = append(errs, h.closeKernel())
	// Last, because until then the address is ours. What Status looks at
	// stays valid.
	if h.server != nil {
		errs = append(errs, h.server.Close())
	}
	return errors.Join(errs...)
}

// watch tells the log what changes, and lets the device grow with the disk. It
// ends the hold when the device is taken away by somebody else.
func (h *Hold) watch(ctx context.Context) {
	tick := time.NewTicker(h.cfg.Watch)
	defer tick.Stop()
	was, size := initiator.Up, h.disk.Size()
	tended, changes := time.Now(), h.cfg.Disk.Link.State().Generation
	log := h.cfg.Log.With("disk", h.cfg.Disk.Addr.String())
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.detached:
			return
		case <-h.front.done():
			h.lost(ctx)
			return
		case <-tick.C:
		}
		h.housekeep()
		h.tendGuard(&tended, &changes)
		if st := h.disk.State(); st.Condition != was {
			was = st.Condition
			log.Warn("the disk is "+string(was), "why", st.Why, "since", st.Since.Format(time.DateTime))
		}
		if now := h.disk.Size(); now != size {
			log.Warn("the disk has another size", "bytes", now, "before", size)
			size = now
			if err := h.front.resize(); err != nil {
				log.Error("the device keeps its size", "why", err)
			}
		}
	}
}

// lost is called when the device ended without us: unmounted by hand, for
// instance. What is left of it is cleared away.
func (h *Hold) lost(ctx context.Context) {
	select {
	case h.detaching <- struct{}{}:
		defer func() { <-h.detaching }()
	case <-ctx.Done():
		return
	case <-h.detached:
		return
	}
	select {
	case <-h.detached: // a Detach did it, and was faster
		return
	default:
	}
	h.cfg.Log.Error("the device is gone", "disk", h.cfg.Disk.Addr.String(), "device", h.front.path())
	if err := h.front.abandon(ctx); err != nil {
		h.cfg.Log.Error("clearing away", "why", err)
	}
	close(h.detached)
}
