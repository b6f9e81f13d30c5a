package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A nbdKernelDevice is a device of the kernel's NBD client and the connection
// that serves it. When the connection breaks, because an answer took longer
// than the kernel waits, another one is made; requests that the old one had are
// sent again, and what the disk still does for it is only given back.
type nbdKernelDevice struct {
	cfg      NBDKernelConfig
	info     Info
	index    int
	size     int64
	counters nbdCounters

	mu      sync.Mutex
	closing bool
	current *nbdTransmission
	ending  <-chan error // the outcome of a close that is under way
	closed  bool

	done   chan struct{}  // closed when no connection will be made any more
	served sync.WaitGroup // connections
}

func nbdPath(index int) string { return fmt.Sprintf("/dev/nbd%d", index) }

func attachNBDKernel(ctx context.Context, cfg NBDKernelConfig, info Info) (*NBDKernelDevice, error) {
	d := &nbdKernelDevice{cfg: cfg, info: info, size: cfg.Disk.Size(), done: make(chan struct{})}
	if err := doNBD(func(*nbdControl) error { return nil }); err != nil {
		return nil, err
	}
	if err := refuseLeft(info, "nbd-kernel"); err != nil {
		return nil, err
	}
	left, found, err := findNBD(nbdBackend(info))
	if err != nil {
		return nil, err
	}
	if found && !cfg.TakeOver {
		return nil, fmt.Errorf("attach: %s: %w", nbdPath(left), ErrLeft)
	}
	var t *nbdTransmission
	if found {
		d.index = left
		t, err = d.takeOver(ctx)
	} else {
		t, err = d.create()
	}
	if err != nil {
		return nil, err
	}
	go d.keep(t) // ends when the device does
	return &NBDKernelDevice{Path: nbdPath(d.index), TakenOver: found, impl: d}, nil
}

// findNBD looks for the device that is connected for that backend.
func findNBD(backend string) (int, bool, error) { return thisKernel().findNBD(backend) }

// create connects a device that nobody uses.
func (d *nbdKernelDevice) create() (*nbdTransmission, error) {
	t, theirs, err := d.pair()
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	s := d.setting(theirs)
	s.index, s.size, s.blockSize, s.flags = nbdAny, d.size, d.info.BlockSize, nbdKernelFlags(d.info)
	// Whoever looks at a new device may read it before the reply is here.
	d.serve(t)
	err = doNBD(func(c *nbdControl) (err error) {
		d.index, err = c.connect(s)
		return err
	})
	if err != nil {
		t.giveUp()
		d.served.Wait()
		return nil, fmt.Errorf("attach: connecting the kernel's NBD client: %w", err)
	}
	// One request of the kernel is one of the disk: parts of a read would wait
	// for each other. A kernel without the file makes it slower.
	d.limit("max_sectors_kb", max(d.info.MaxRequest>>10, 4))
	// As many as we take in hand, for which there is room in the socket.
	d.limit("nr_requests", d.cfg.InFlight)
	// Unless it was told otherwise it is 30 s.
	d.limit("io_timeout", int(nbdKernelLooks/time.Millisecond))
	return t, nil
}

// limit sets a limit of the device's queue. A kernel that does not let us keeps
// its own, which is slower, and with nr_requests see socketRoom.
func (d *nbdKernelDevice) limit(name string, n int) {
	file := filepath.Join("/sys/block", filepath.Base(nbdPath(d.index)), "queue", name)
	_ = os.WriteFile(file, []byte(strconv.Itoa(n)), 0)
}

// setting is what every connection of the device has in common.
func (d *nbdKernelDevice) setting(socket int) nbdSetting {
	return nbdSetting{
		index: d.index, socket: socket, backend: nbdBackend(d.info),
		reconnect: nbdKernelReconnect,
	}
}

// takeOver connects a device whose process died. The kernel sends again what
// that process had not answered when it looks at it next: see nbdKernelLooks.
func (d *nbdKernelDevice) takeOver(ctx context.Context) (*nbdTransmission, error) {
	has, err := d.deviceSize()
	if err != nil {
		return nil, err
	}
	if has > d.size {
		return nil, fmt.Errorf("attach: taking over %s: the disk shrank from %d to %d bytes: what is beyond may be in use", nbdPath(d.index), has, d.size)
	}
	d.size = has
	if err := d.checkTaken(); err != nil {
		return nil, fmt.Errorf("attach: taking over %s: %w", nbdPath(d.index), err)
	}
	ctx, cancel := context.WithTimeout(ctx, TakeOverTime)
	defer cancel()
	return d.reconnect(ctx)
}

// deviceSize is the size that the device has.
func (d *nbdKernelDevice) deviceSize() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/sys/block/nbd%d/size", d.index))
	if err != nil {
		return 0, fmt.Errorf("attach: %w", err)
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return sectors * SectorSize, err
}

// checkTaken refuses to serve a device with less than it promised.
func (d *nbdKernelDevice) checkTaken() error {
	sys := fmt.Sprintf("/sys/block/nbd%d/", d.index)
	cache, err := os.ReadFile(sys + "queue/write_cache")
	if err != nil {
		return err
	}
	ro, err := os.ReadFile(sys + "ro")
	if err != nil {
		return err
	}
	switch {
	case d.info.WriteCache && strings.HasPrefix(string(cache), "write through"):
		return errNotFlushed
	case d.info.ReadOnly != (strings.TrimSpace(string(ro)) == "1"):
		return errOtherAccess
	}
	return nil
}

// pair makes a connection: our end with everything to serve it, and the
// kernel's.
func (d *nbdKernelDevice) pair() (t *nbdTransmission, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("attach: socketpair: %w", err)
	}
	// The kernel sets twice what it is asked for. Without CAP_NET_ADMIN it is as
	// much as net.core.wmem_max gives.
	room := (d.cfg.socketRoom(d.info.MaxRequest) + 1) / 2
	if unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room) != nil {
		if err := unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, room); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("attach: SO_SNDBUF: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
		}
	}
	t = newNBDTransmission(d.cfg.Disk, d.info, newBlockingStream(fds[0]), d.cfg.InFlight, &d.counters)
	if err := t.accompanyPair(fds[0]); err != nil {
		return nil, 0, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	t.onThread = func() {
		runtime.LockOSThread() // it ends with its goroutine
		if d.cfg.OnThread != nil {
			d.cfg.OnThread()
		}
	}
	return t, fds[1], nil
}

// An nbdSocket is our end of a pair: a blockingConn, or a polledConn if the disk's loop
// looks after it.
type nbdSocket interface {
	// hungUp reports whether the other end is closed.
	hungUp() bool
	// free gives the descriptor back, when nobody is in the socket any more.
	free()
}

// serve serves a connection until it ends.
func (d *nbdKernelDevice) serve(t *nbdTransmission) {
	d.counters.connections.Add(1)
	d.served.Go(func() {
		t.onThread()
		if t.run() != nil {
			d.counters.broken.Add(1)
		}
		if t.company == nil {
			t.stream.conn.(nbdSocket).free() // nobody is in it any more
		}
	})
	d.mu.Lock()
	d.current = t
	closing := d.closing
	d.mu.Unlock()
	if closing {
		t.giveUp()
	}
}

// keep makes a new connection whenever one breaks, until the device is
// disconnected.
func (d *nbdKernelDevice) keep(t *nbdTransmission) {
	defer close(d.done)
	for {
		<-t.ctx.Done()
		d.mu.Lock()
		closing := d.closing
		d.mu.Unlock()
		if closing || t.saidGoodbye.Load() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), nbdKernelReconnect)
		next, err := d.reconnect(ctx)
		cancel()
		if err != nil {
			return // the device is of no more use, and Done says so
		}
		t = next
	}
}

// reconnect gives the device a new connection in place of a dead one. The
// kernel says that all is well also when it has none that is dead, because it
// has not noticed yet; then it closes the socket that it was given.
func (d *nbdKernelDevice) reconnect(ctx context.Context) (*nbdTransmission, error) {
	for {
		d.mu.Lock()
		closing := d.closing
		d.mu.Unlock()
		if closing {
			return nil, errNBDKernelGone
		}
		t, theirs, err := d.pair()
		if err != nil {
			return nil, err
		}
		err = doNBD(func(c *nbdControl) error { return c.reconfigure(d.setting(theirs)) })
		unix.Close(theirs)
		conn := t.stream.conn.(nbdSocket)
		switch {
		case err != nil:
			conn.free()
			return nil, fmt.Errorf("attach: reconnecting %s: %w", nbdPath(d.index), err)
		case !conn.hungUp():
			d.serve(t)
			return t, nil
		}
		conn.free()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("attach: %s is still served by another process: end that first: %w", nbdPath(d.index), ctx.Err())
		case <-time.After(poll):
		}
	}
}

// close detaches on a goroutine that can be left behind, and comes back to it
// when called again; see ublkDevice.close.
func (d *nbdKernelDevice) close(ctx context.Context) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return d.gone(ctx)
	}
	if d.ending == nil {
		ended := make(chan error, 1)
		go func() { ended <- d.end() }()
		d.ending = ended
	}
	ending := d.ending
	d.mu.Unlock()
	select {
	case err := <-ending:
		d.mu.Lock()
		d.ending = nil
		d.closed = err == nil
		d.mu.Unlock()
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("attach: the disk has not taken everything that was written to %s: %w", nbdPath(d.index), ctx.Err())
	}
	return d.gone(ctx)
}

// end disconnects the device, if nobody uses it.
func (d *nbdKernelDevice) end() error {
	path := nbdPath(d.index)
	claim, err := claimDevice(path)
	if err != nil {
		return err
	}
	defer claim.Close()
	ctx, cancel := context.WithTimeout(context.Background(), detachPatience)
	defer cancel()
	if until(ctx, func() bool { return len(openersOf(path)) == 0 }) != nil {
		return &InUseError{Device: path, By: usersOf(path)}
	}
	if err := claim.Sync(); err != nil {
		return fmt.Errorf("attach: writing back %s: %w", path, err)
	}
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	return d.disconnect()
}

func (d *nbdKernelDevice) disconnect() error {
	if err := doNBD(func(c *nbdControl) error { return c.disconnect(d.index) }); err != nil {
		return fmt.Errorf("attach: disconnecting %s: %w", nbdPath(d.index), err)
	}
	return nil
}

// gone waits until the kernel has let go of the device, which it does when the
// last who has it open closes it, and the disk of the connections.
func (d *nbdKernelDevice) gone(ctx context.Context) error {
	served := make(chan struct{})
	go func() { // ends when the disk is closed, if not before
		<-d.done
		d.served.Wait()
		close(served)
	}()
	select {
	case <-served:
	case <-ctx.Done():
		return fmt.Errorf("attach: the disk has not finished what was in flight: %w", ctx.Err())
	}
	if until(ctx, func() bool {
		_, err := os.Stat(fmt.Sprintf("/sys/block/nbd%d/pid", d.index))
		return errors.Is(err, os.ErrNotExist)
	}) != nil {
		return fmt.Errorf("attach: %s stays, dead, until all who have it open close it: %w", nbdPath(d.index), ctx.Err())
	}
	return nil
}

// abandon undoes everything without asking.
func (d *nbdKernelDevice) abandon(ctx context.Context) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closing, d.closed = true, true
	t := d.current
	d.mu.Unlock()
	// First our end: the kernel may be waiting for us to read, and would not
	// disconnect before.
	t.giveUp()
	if err := d.disconnect(); err != nil {
		return err
	}
	// What the disk still does for the connection ends when the disk is closed,
	// and the device when the last who has it open closes it.
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("attach: disconnecting %s: %w", nbdPath(d.index), ctx.Err())
	}
}

// resize follows the disk.
func (d *nbdKernelDevice) resize() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.closing {
		return fmt.Errorf("attach: the device was detached: %w", os.ErrClosed)
	}
	now := d.cfg.Disk.Size()
	if now < d.size {
		return fmt.Errorf("attach: the disk shrank from %d to %d bytes: %s keeps its size, and what is beyond fails", d.size, now, nbdPath(d.index))
	}
	s := nbdSetting{index: d.index, size: now, backend: nbdBackend(d.info)}
	if err := doNBD(func(c *nbdControl) error { return c.reconfigure(s) }); err != nil {
		return fmt.Errorf("attach: resizing %s: %w", nbdPath(d.index), err)
	}
	d.size = now
	return nil
}
