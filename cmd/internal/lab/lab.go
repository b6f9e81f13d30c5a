package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"

	"aoe/cmd/internal/hold"
	"aoe/cmd/internal/orphan"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/scratch"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"
)

// A Lab is a network with a target, and perhaps an attached disk.
type Lab struct {
	cfg     Config
	dir     string // everything on disk that is ours
	image   string
	pair    *veth.Pair // A is the initiator's host, B the target's
	server  *target.Server
	cleanup cleanup

	// While a disk is attached:
	hold   *hold.Hold
	closed chan error // what closing it returned, once it is detached
	attack *attack
}

// New makes the network and serves the image, and removes what an earlier lab in
// the same place left when it was killed. Close it, unless there is an error.
func New(ctx context.Context, cfg Config) (_ *Lab, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg, image: cfg.Image}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(ctx))
		}
	}()
	if l.cfg.Dir, err = scratchPlace(cfg.Dir); err != nil {
		return nil, err
	}
	if err := sweep(ctx, l.cfg.Dir); err != nil {
		return nil, err
	}
	for _, step := range []func() error{l.makeDir, l.makeImage, l.makeNetwork, l.serve} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Close removes everything. It takes its own time, also when ctx is done.
func (l *Lab) Close(ctx context.Context) error { return l.cleanup.run(ctx) }

// RunDir is the run directory of the lab's own: aoe stat and aoe detach find the
// disk there.
func (l *Lab) RunDir() rundir.Dir { return rundir.Dir(filepath.Join(l.dir, "run")) }

// serialIn is the serial number of the disk of the lab in dir. No two labs have the
// same, so that a device in the kernel tells which it is from.
func serialIn(dir string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, dir) // a hash takes everything
	return fmt.Sprintf("lab %016x", h.Sum64())
}

// dirPattern is the name of a lab's directory.
const dirPattern = "aoe-lab-*"

// scratchPlace is the directory that dir means, as the kernel calls it: mounts are
// known by that name.
func scratchPlace(dir string) (string, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	return dir, nil
}

func (l *Lab) makeDir() error {
	dir, lock, err := scratch.New(l.cfg.Dir, dirPattern)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	l.dir = dir
	// Not RemoveAll: what should not be there any more may be a mount.
	l.cleanup.push("the directory "+dir, func(context.Context) error {
		return errors.Join(os.Remove(dir), lock.Close())
	})
	if err := l.own(); err != nil {
		return err
	}
	l.cleanup.push("the owner's file", func(context.Context) error { return os.Remove(filepath.Join(dir, ownerFile)) })
	l.cfg.Page.Watch(l.RunDir(), Addr)
	l.cleanup.push("what the page shows", func(context.Context) error {
		l.cfg.Page.Watch("", Addr)
		return nil
	})
	run := string(l.RunDir())
	if err := os.Mkdir(run, 0o700); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	l.cleanup.push("the run directory", func(context.Context) error {
		lock := filepath.Join(run, Addr.String()+".lock")
		if err := os.Remove(lock); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.Remove(run)
	})
	return nil
}

func (l *Lab) makeImage() error {
	if l.image != "" {
		return nil
	}
	l.image = filepath.Join(l.dir, "disk.img")
	f, err := os.OpenFile(l.image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	l.cleanup.push("the image", func(context.Context) error { return os.Remove(l.image) })
	if err := errors.Join(f.Truncate(l.cfg.Size), f.Close()); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

func (l *Lab) makeNetwork() error {
	pair, err := veth.New(veth.Config{MTU: l.cfg.MTU})
	if err != nil {
		return err
	}
	l.pair = pair
	l.cleanup.push("the network", func(context.Context) error { return pair.Close() })
	var numbers []uint64
	for _, h := range []*veth.Host{pair.A, pair.B} {
		// Before Linux 5.14 there are none, and who is in a namespace is not found.
		_ = h.Do(func() error {
			n, err := orphan.Namespace()
			if err == nil {
				numbers = append(numbers, n)
			}
			return err
		})
	}
	return l.own(numbers...)
}

// serve starts the target. It refuses edits over the wire, so that a stranger's
// cannot shut the initiator out.
func (l *Lab) serve() error {
	s, err := target.New(target.Config{WireEdits: target.EditsNone})
	if err != nil {
		return err
	}
	st, err := store.Open(store.Config{Path: l.image})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if err := s.AddDisk(target.Disk{Addr: Addr, Store: st, Model: "aoe lab", Serial: serialIn(l.dir)}); err != nil {
		return errors.Join(err, st.Close(), s.Close())
	}
	port, err := on(l.pair.B, openBest)
	if err == nil {
		err = s.AddLink(port)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	l.server = s
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { served <- s.Serve(ctx) }() // ends with stop
	l.cleanup.push("the target", func(context.Context) error {
		stop()
		return <-served
	})
	return nil
}

func openBest(h *veth.Host) (link.Link, error) { return open.Open(h.Interface) }

// on opens a link inside h's namespace, which it stays bound to.
func on(h *veth.Host, open func(*veth.Host) (link.Link, error)) (l link.Link, err error) {
	err = h.Do(func() (err error) {
		l, err = open(h)
		return err
	})
	return l, err
}

// Attach attaches the disk under the given conditions.
func (l *Lab) Attach(ctx context.Context, c Conditions) error {
	if l.hold != nil {
		panic("lab: attached already")
	}
	port, err := on(l.pair.A, openBest)
	if err != nil {
		return err
	}
	if c.Faults != (linktest.Faults{}) {
		port = linktest.Impair(port, linktest.Impairment{Seed: l.cfg.Seed, Send: c.Faults, Receive: c.Faults})
	}
	cfg := initiator.Config{Link: port, Addr: Addr}
	if c.ReserveOnly {
		cfg.FailNormal = func() bool { return true }
	}
	h, err := hold.Attach(ctx, hold.Config{Disk: cfg, Via: l.cfg.Via, Dir: l.RunDir()})
	if err != nil {
		return err
	}
	l.hold, l.closed = h, make(chan error, 1)
	go func(closed chan<- error) { // ends with the disk, which aoe detach may detach too
		<-h.Detached()
		closed <- h.Close()
	}(l.closed)
	l.cleanup.push("the attached disk", l.drop)
	if c.Flood > 0 {
		l.attack, err = l.startAttack(c.Flood)
	}
	return err
}

// Device is what the disk is attached as.
func (l *Lab) Device() string { return l.hold.Device() }

// Stats are the counters of the attached disk.
func (l *Lab) Stats() initiator.Stats { return l.hold.Disk().Stats() }

// Detach detaches the disk. When that is refused or fails, it stays attached.
func (l *Lab) Detach(ctx context.Context) error {
	if err := l.endAttack(); err != nil {
		return err
	}
	if err := l.hold.Detach(ctx); err != nil {
		return err
	}
	l.hold = nil
	return <-l.closed
}

// drop is Detach for the end of a lab that may have failed: if the disk cannot
// be detached it is abandoned, because it belongs to a network that goes away.
func (l *Lab) drop(ctx context.Context) error {
	err := l.endAttack()
	if l.hold == nil {
		return err
	}
	h := l.hold
	l.hold = nil
	if detachErr := h.Detach(ctx); detachErr != nil {
		// An abandoned device is gone in any case.
		err = errors.Join(err, detachErr, h.Abandon(context.WithoutCancel(ctx)))
	}
	return errors.Join(err, <-l.closed)
}

func (l *Lab) endAttack() error {
	if l.attack == nil {
		return nil
	}
	a := l.attack
	l.attack = nil
	return a.end()
}
