package attach

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A ublkDevice is a device of the ublk driver and the queue that serves it.
type ublkDevice struct {
	disk  Disk
	info  Info
	id    uint32
	char  *ublkChar
	queue *ublkQueue

	mu      sync.Mutex
	ending  <-chan error // the outcome of a close that is under way
	closed  bool
	sectors uint64 // as the device has them
}

// ublkRetry is how often the driver is asked whether a process's end has reached
// it. Asking takes a ring and a thread of the kernel's.
const ublkRetry = 20 * time.Millisecond

func ublkPath(id uint32) string { return fmt.Sprintf("/dev/ublkb%d", id) }

// attachUBLK makes a device, or takes one over.
func attachUBLK(ctx context.Context, cfg UBLKConfig, info Info) (*UBLKDevice, error) {
	if _, err := ublkFeatures(); err != nil {
		return nil, err
	}
	if err := refuseLeft(info, "ublk"); err != nil {
		return nil, err
	}
	left, found, err := thisKernel().findUblk(ublkMark(info))
	if err != nil {
		return nil, err
	}
	d := &ublkDevice{disk: cfg.Disk, info: info}
	switch {
	case found && left.state == ublkDead:
		// Its process died before it was started: nobody uses it.
		if err := retryControl(ublkDelDev, left.id, 0, nil); err != nil {
			return nil, fmt.Errorf("attach: removing ublk device %d, left by a process that died: %w", left.id, err)
		}
		found = false
	case found && !cfg.TakeOver:
		return nil, fmt.Errorf("attach: %s: %w", ublkPath(left.id), ErrLeft)
	}
	if found {
		err = d.takeOver(ctx, cfg, left)
	} else {
		err = d.create(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	return &UBLKDevice{Path: ublkPath(d.id), TakenOver: found, impl: d}, nil
}

// ublkFeatures asks the driver what it can do.
func ublkFeatures() (uint64, error) {
	var b [8]byte
	err := ublkControl(ublkGetFeatures, ublkAnyDevice, 0, b[:])
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, fmt.Errorf("%w: modprobe ublk_drv (Linux 6.0 or later; Debian 12's 6.1 is built without it: use the kernel of its backports, or nbd-kernel)", err)
	case errors.Is(err, os.ErrPermission):
		return 0, fmt.Errorf("%w: run as root", err)
	case err != nil:
		return 0, fmt.Errorf("attach: asking ublk for its features: %w: needs Linux 6.5 or later", err)
	}
	has := binary.NativeEndian.Uint64(b[:])
	for _, f := range ublkNeededNames {
		if has&f.bit == 0 {
			return 0, fmt.Errorf("attach: this kernel's ublk has no %s: needs Linux 6.5 or later", f.name)
		}
	}
	return has, nil
}

// create makes a new device and starts it.
func (d *ublkDevice) create(ctx context.Context, cfg UBLKConfig) error {
	var b [ublkInfoLen]byte
	ublkInfo{
		queues: 1, depth: uint16(cfg.Depth), maxIO: uint32(d.info.MaxRequest), id: ublkAnyDevice,
		flags: ublkNeeded, mark: ublkMark(d.info),
	}.put(b[:])
	if err := ublkControl(ublkAddDev, ublkAnyDevice, 0, b[:]); err != nil {
		return fmt.Errorf("attach: making a ublk device: %w", err)
	}
	made := parseUblkInfo(b[:])
	d.id = made.id
	err := func() error {
		if missing := ublkNeeded &^ made.flags; missing != 0 {
			return fmt.Errorf("attach: ublk does without the features %#x that were asked for", missing)
		}
		want := ublkParamsOf(d.info, d.disk.Size())
		d.sectors = want.sectors
		var p [ublkParamsLen]byte
		want.put(p[:])
		if err := ublkControl(ublkSetParams, d.id, 0, p[:]); err != nil {
			return fmt.Errorf("attach: setting the parameters of ublk device %d: %w", d.id, err)
		}
		return d.serve(ctx, cfg, int(made.depth), ublkStartDev)
	}()
	if err != nil {
		return errors.Join(err, d.remove(context.WithoutCancel(ctx)))
	}
	d.hurryTimeouts()
	return nil
}

// serve opens the character device, lets a queue ask for requests, and tells
// the driver to begin with them.
func (d *ublkDevice) serve(ctx context.Context, cfg UBLKConfig, depth int, begin uint32) error {
	// udev, or the dying process, may still be about to make or release it.
	var err error
	if until(ctx, func() bool {
		d.char, err = openUblkChar(d.id, depth)
		return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY)
	}) != nil || err != nil {
		return errors.Join(err, ctx.Err())
	}
	d.queue = newUblkQueue(d.disk, d.info, d.char, depth, cfg.OnThread)
	if err := d.queue.open(); err != nil {
		d.char.close()
		d.char, d.queue = nil, nil
		return err
	}
	// The driver begins when it was asked for the requests of every tag; if the
	// queue cannot ask, it never does.
	begun := make(chan error, 1)
	go func() { begun <- retryControl(begin, d.id, uint64(os.Getpid()), nil) }()
	select {
	case err = <-begun:
	case <-d.queue.done:
		err = d.queue.err
	}
	if err != nil {
		return fmt.Errorf("attach: starting ublk device %d: %w", d.id, err)
	}
	return nil
}

// hurryTimeouts makes the kernel look after requests more often than every
// 30 s. It resets their timers as long as we live; but when we die with all
// requests under way, only a timeout tells it.
func (d *ublkDevice) hurryTimeouts() {
	path := fmt.Sprintf("/sys/block/ublkb%d/queue/io_timeout", d.id)
	// A kernel without the file makes whoever takes over wait longer.
	_ = os.WriteFile(path, []byte(strconv.Itoa(int(ublkTimeout.Milliseconds()))), 0)
}

// takeOver serves a device whose process has died. What that process had not
// answered is sent again (USER_RECOVERY_REISSUE), and what came since has
// waited.
func (d *ublkDevice) takeOver(ctx context.Context, cfg UBLKConfig, left ublkInfo) error {
	d.id = left.id
	var p [ublkParamsLen]byte
	binary.NativeEndian.PutUint32(p[:], ublkParamsLen)
	if err := ublkControl(ublkGetParams, d.id, 0, p[:]); err != nil {
		return fmt.Errorf("attach: reading the parameters of %s: %w", ublkPath(d.id), err)
	}
	has := parseUblkParams(p[:])
	if err := checkUblkTaken(has, ublkParamsOf(d.info, d.disk.Size())); err != nil {
		return fmt.Errorf("attach: taking over %s: %w", ublkPath(d.id), err)
	}
	d.sectors = has.sectors
	d.info.WriteCache = d.info.WriteCache || has.attrs&ublkAttrCache != 0
	ctx, cancel := context.WithTimeout(ctx, TakeOverTime)
	defer cancel()
	err := ublkControl(ublkStartRecovery, d.id, 0, nil)
	// "EBUSY": the process's end has not reached the driver yet.
	for ctx.Err() == nil && (errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINTR)) {
		select {
		case <-ctx.Done():
		case <-time.After(ublkRetry):
		}
		err = ublkControl(ublkStartRecovery, d.id, 0, nil)
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINTR) {
		return fmt.Errorf("attach: %s is still served by process %d: end that first: %w", ublkPath(d.id), left.pid, ctx.Err())
	}
	// "EINVAL": the recovery was begun before, by a process that died in it.
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("attach: taking over %s: %w", ublkPath(d.id), err)
	}
	// If this fails the device waits for another to take it over, when this
	// process has ended.
	return d.serve(ctx, cfg, int(left.depth), ublkEndRecovery)
}

// close detaches on a goroutine that can be left behind, and comes back to it
// when called again: it may have to write back what is in the page cache,
// through this process, to a disk that does not answer.
func (d *ublkDevice) close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	if d.ending == nil {
		ended := make(chan error, 1)
		go func() { ended <- d.end() }()
		d.ending = ended
	}
	select {
	case err := <-d.ending:
		d.ending = nil
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("attach: the disk has not taken everything that was written to %s: %w", ublkPath(d.id), ctx.Err())
	}
	err := d.remove(ctx)
	d.closed = err == nil
	return err
}

// end stops the device, if nobody uses it.
func (d *ublkDevice) end() error {
	path := ublkPath(d.id)
	claim, err := claimDevice(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // somebody else stopped it
	}
	if err != nil {
		return err
	}
	defer claim.Close() // before the device is deleted, which waits for it
	// What others still write through descriptors of their own would be lost.
	ctx, cancel := context.WithTimeout(context.Background(), detachPatience)
	defer cancel()
	if until(ctx, func() bool { return len(openersOf(path)) == 0 }) != nil {
		return &InUseError{Device: path, By: usersOf(path)}
	}
	if err := claim.Sync(); err != nil {
		return fmt.Errorf("attach: writing back %s: %w", path, err)
	}
	if err := retryControl(ublkStopDev, d.id, 0, nil); err != nil {
		return fmt.Errorf("attach: stopping %s: %w", path, err)
	}
	return nil
}

// remove takes away what is left of a device that is not started, or was
// stopped.
func (d *ublkDevice) remove(ctx context.Context) error {
	if err := d.stop(); err != nil {
		return err
	}
	deleted := make(chan error, 1)
	go func() { deleted <- retryControl(ublkDelDev, d.id, 0, nil) }()
	select {
	case err := <-deleted:
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("attach: deleting ublk device %d: %w", d.id, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("attach: %s stays, dead, until all who have it open close it: %w", ublkPath(d.id), ctx.Err())
	}
}

// stop ends the queue and closes its side of the device: while that is open,
// the device is not deleted.
func (d *ublkDevice) stop() error {
	if d.char == nil {
		return nil
	}
	if err := retryControl(ublkStopDev, d.id, 0, nil); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("attach: stopping %s: %w", ublkPath(d.id), err)
	}
	<-d.queue.done
	d.char.close()
	d.char = nil
	return nil
}

// abandon undoes everything without asking.
func (d *ublkDevice) abandon(ctx context.Context) error {
	// Requests that wait, and all that will come, fail: whoever waits for them
	// in the kernel comes back, a close that is under way too.
	d.queue.giveUp()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	if d.ending != nil {
		<-d.ending // with whatever outcome: it is stopped anyway now
		d.ending = nil
	}
	if err := d.stop(); err != nil {
		return err
	}
	d.closed = true
	// The device is gone when the last who has it open closes it.
	err := ublkControl(ublkDelDevAsync, d.id, 0, nil)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) { // before Linux 6.7
		go retryControl(ublkDelDev, d.id, 0, nil) // ends with the last user, or this process
		err = nil
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("attach: deleting ublk device %d: %w", d.id, err)
	}
	return nil
}

// resize follows the disk.
func (d *ublkDevice) resize() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("attach: the device was detached: %w", os.ErrClosed)
	}
	now := ublkParamsOf(d.info, d.disk.Size()).sectors
	if now == d.sectors {
		return nil
	}
	if now < d.sectors {
		return fmt.Errorf("attach: the disk shrank from %d to %d sectors: %s keeps its size, and what is beyond fails", d.sectors, now, ublkPath(d.id))
	}
	features, err := ublkFeatures()
	if err != nil {
		return err
	}
	if features&ublkFeatUpdateSize == 0 {
		return fmt.Errorf("attach: %s keeps its size: to change it needs Linux 6.16, or detaching and attaching", ublkPath(d.id))
	}
	if err := retryControl(ublkUpdateSize, d.id, now, nil); err != nil {
		return fmt.Errorf("attach: resizing %s: %w", ublkPath(d.id), err)
	}
	d.sectors = now
	return nil
}
