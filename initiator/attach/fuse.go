package attach

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// FUSEConfig is what a block device is made of.
type FUSEConfig struct {
	// Disk is what the device shows. It stays the caller's: close it after the
	// device.
	Disk Disk
	// Dir is a directory of the device's own, with mode 0700. It is made, and
	// removed when it was made. Empty means /run/aoe and the name of the disk.
	Dir string
	// ReadOnly makes a read-only device even if the disk could be written.
	ReadOnly bool
	// InFlight is how many requests the kernel sends at once before it waits
	// for replies. Zero means 128; with a dozen, the kernel's default, half of
	// the speed is lost.
	InFlight int
}

// runDir is where directories are made by default: hier(7), "/run ... run-time
// variable data".
const runDir = "/run/aoe"

func (cfg *FUSEConfig) validate() (Info, error) {
	info, err := deviceInfo(cfg.Disk, cfg.ReadOnly)
	if err != nil {
		return Info{}, err
	}
	if info.MaxRequest < fuseBlock {
		return Info{}, fmt.Errorf("attach: FUSE needs requests of %d bytes, the disk admits %d", fuseBlock, info.MaxRequest)
	}
	if cfg.Dir == "" {
		if info.Name == "" {
			return Info{}, errors.New("attach: neither a directory nor a name for one given")
		}
		cfg.Dir = filepath.Join(runDir, info.Name)
	}
	// The kernel shows and compares absolute paths.
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return Info{}, fmt.Errorf("attach: %w", err)
	}
	if cfg.InFlight <= 0 {
		cfg.InFlight = 128
	}
	return info, nil
}

// fuseBlock is the block size that the file shows, in bytes: a page.
const fuseBlock = 4096

// A Device is a block device that shows a disk.
type Device struct {
	// Path of the device, "/dev/loop7".
	Path string
	impl *fuseDevice
}

// FUSE attaches a disk as a block device: a file system with one file, which a
// loop device with direct I/O shows. It needs root. ctx is for attaching, not
// for the life of the device. What a process that died left in Dir is cleaned
// up first.
func FUSE(ctx context.Context, cfg FUSEConfig) (*Device, error) {
	info, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	return attachFUSE(ctx, cfg, info)
}

// ClearStale removes the loop device and the mount that a process which died left
// of a device that FUSE made in dir, as the next FUSE in dir would. It tries until
// ctx ends, and fails with ErrAttached if the process lives and with an
// *InUseError if somebody uses the device.
func ClearStale(ctx context.Context, dir string) error { return clearStale(ctx, dir) }

// Close detaches the device and returns when nothing is left of it. While the
// device is in use it does nothing and returns an *InUseError. If ctx ends, or
// something cannot be undone, Close may be called again, and goes on from
// there.
func (d *Device) Close(ctx context.Context) error { return d.impl.close(ctx) }

// Abandon ends the device whether it is in use or not: who uses it gets I/O
// errors, and data that was not yet written is lost. A loop device that is
// still open then stays, dead, until it is closed.
func (d *Device) Abandon(ctx context.Context) error { return d.impl.abandon(ctx) }

// Done is closed when the device has ended, by Close or in any other way.
func (d *Device) Done() <-chan struct{} { return d.impl.done }

// Wait waits until the device has ended or ctx is done.
func (d *Device) Wait(ctx context.Context) error {
	select {
	case <-d.impl.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Resize makes the device as large as the disk is now. Whoever notices that
// the disk has changed calls it. It refuses to make the device smaller, because
// what would be cut off may hold data (H16).
func (d *Device) Resize() error { return d.impl.resize() }

// Stats are the counters of the device.
func (d *Device) Stats() FUSEStats { return d.impl.fs.stats() }

// FUSEStats counts since the device was attached.
type FUSEStats struct {
	Reads   uint64 `json:"reads"`
	Writes  uint64 `json:"writes"`
	Flushes uint64 `json:"flushes"`
	Trims   uint64 `json:"trims"`
	Zeroes  uint64 `json:"zeroes"`
	Errors  uint64 `json:"errors"`
}

// ErrInUse is wrapped by *InUseError.
var ErrInUse = errors.New("the device is in use")

// An InUseError says who uses a device that was to be detached.
type InUseError struct {
	Device string   // "/dev/loop7"
	By     []string // "mounted on /mnt", "used as swap", ...
}

func (e *InUseError) Error() string {
	by := "by whom is not known"
	if len(e.By) > 0 {
		by = strings.Join(e.By, ", ")
	}
	return fmt.Sprintf("attach: %s is in use: %s; end that first (umount, swapoff, close)", e.Device, by)
}

func (e *InUseError) Unwrap() error { return ErrInUse }

// ErrAttached means that another process serves a device in the directory.
var ErrAttached = errors.New("attach: attached already by another process: detach there first, or give another directory")

// poll is how often conditions are looked at that the kernel does not notify
// of.
const poll = 2 * time.Millisecond

// until waits until holds returns true or ctx is done.
func until(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
	return nil
}
