package attach

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/bits"
	"time"
)

// UBLKConfig is what a block device of ublk is made of.
type UBLKConfig struct {
	// Disk is what the device shows. It stays the caller's: close it after the
	// device.
	Disk Disk
	// ReadOnly makes a read-only device even if the disk could be written.
	ReadOnly bool
	// Depth is how many requests the kernel sends at once before it waits for
	// answers. Zero means as many as the disk admits ([Info.Depth]).
	Depth int
	// TakeOver takes over the device that a process which died left, if there
	// is one for this disk. It must not be called before FrameLife has passed
	// since that process sent its last frame. Without it such a device makes
	// UBLK fail with ErrLeft.
	TakeOver bool
	// OnThread, if not nil, is called on each thread that does I/O for the
	// device, before it does any, and lives as long as the device: one, and a
	// second unless the disk's loop, which the disk's own hook is for, serves it.
	OnThread func()
}

// ublkPage is the least physical block that we tell of, in bytes: a page.
const ublkPage = 4096

func (cfg *UBLKConfig) validate() (Info, error) {
	info, err := deviceInfo(cfg.Disk, cfg.ReadOnly)
	if err != nil {
		return Info{}, err
	}
	info.MaxRequest = min(info.MaxRequest, ublkMaxIO) / ublkPage * ublkPage
	if info.MaxRequest == 0 {
		return Info{}, fmt.Errorf("attach: ublk needs requests of %d bytes, the disk admits less", ublkPage)
	}
	if cfg.Depth <= 0 {
		cfg.Depth = info.Depth
	}
	cfg.Depth = min(cfg.Depth, ublkMaxDepth)
	return info, nil
}

// A UBLKDevice is a block device of ublk that shows a disk. When this process
// dies, the device stays: requests wait in the kernel until another process
// takes it over.
type UBLKDevice struct {
	// Path of the device, "/dev/ublkb0".
	Path string
	// TakenOver tells that it was there before.
	TakenOver bool
	impl      *ublkDevice
}

// UBLK attaches a disk as a block device of ublk. It needs CAP_SYS_ADMIN. ctx is
// for attaching, not for the life of the device.
func UBLK(ctx context.Context, cfg UBLKConfig) (*UBLKDevice, error) {
	info, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	return attachUBLK(ctx, cfg, info)
}

// Close detaches the device and returns when nothing is left of it. While the
// device is in use it does nothing and returns an *InUseError. If ctx ends,
// Close may be called again, and goes on from there.
func (d *UBLKDevice) Close(ctx context.Context) error { return d.impl.close(ctx) }

// Abandon ends the device whether it is in use or not: who uses it gets I/O
// errors, and data that was not yet written is lost.
func (d *UBLKDevice) Abandon(ctx context.Context) error { return d.impl.abandon(ctx) }

// Done is closed when the device has ended, by Close or in any other way.
func (d *UBLKDevice) Done() <-chan struct{} { return d.impl.queue.done }

// Resize makes the device as large as the disk is now, if the kernel can do
// that (Linux 6.16). It refuses to make the device smaller (H16).
func (d *UBLKDevice) Resize() error { return d.impl.resize() }

// Stats are the counters of the device.
func (d *UBLKDevice) Stats() UBLKStats { return d.impl.queue.snapshot() }

// UBLKStats counts since the device was attached or taken over.
type UBLKStats struct {
	Reads   uint64 `json:"reads"`
	Writes  uint64 `json:"writes"`
	Flushes uint64 `json:"flushes"`
	Trims   uint64 `json:"trims"`
	Zeroes  uint64 `json:"zeroes"`
	Errors  uint64 `json:"errors"`

	// Copies is how often data was copied between the kernel's pages and our
	// frames, once for each read and write, and Copied how many bytes that
	// were. There is no other copy.
	Copies uint64 `json:"copies"`
	Copied uint64 `json:"copiedBytes"`
	// Starved are parts of requests that had to wait for admission.
	Starved uint64 `json:"starved"`
	// Wakes is how often the thread had to be woken for what the disk had
	// done: fewer than requests when several ended at once.
	Wakes uint64 `json:"wakes"`
}

func (q *ublkQueue) snapshot() UBLKStats {
	c := &q.stats
	return UBLKStats{
		Reads: c.reads.Load(), Writes: c.writes.Load(), Flushes: c.flushes.Load(),
		Trims: c.trims.Load(), Zeroes: c.zeroes.Load(), Errors: c.errors.Load(),
		Copies: c.copies.Load(), Copied: c.copied.Load(), Starved: c.starved.Load(), Wakes: c.wakes.Load(),
	}
}

// ErrLeft means that a process which died left a device for this disk, in which
// requests wait.
var ErrLeft = errors.New("a process that died left a device for this disk, whose users wait: take it over (aoe attach --takeover), then detach it if it is of no more use")

// ublkMark names a disk in the kernel's record of a device: by it the next
// process finds the device, and no other disk is ever put behind it (H15).
func ublkMark(info Info) uint64 {
	h := fnv.New64a()
	// A hash takes everything.
	_, _ = io.WriteString(h, "aoe\x00"+info.Name+"\x00"+info.Serial)
	return h.Sum64()
}

// ublkParamsOf are the parameters of a device that shows the disk.
func ublkParamsOf(info Info, size int64) ublkParams {
	p := ublkParams{
		types:      ublkParamBasic | ublkParamDiscard,
		blockShift: uint8(bits.Len(uint(info.BlockSize)) - 1),
		pageShift:  uint8(bits.Len(uint(ublkPage)) - 1),
		maxSectors: uint32(info.MaxRequest / SectorSize),
		sectors:    uint64(size / int64(info.BlockSize) * int64(info.BlockSize) / SectorSize),
		// Must not be zero, even where there is no discard.
		discardGranularity: uint32(info.BlockSize),
		maxZeroes:          uint32(info.MaxRequest / SectorSize),
	}
	p.optShift = uint8(bits.Len(uint(max(info.Preferred, ublkPage))) - 1)
	if info.ReadOnly {
		p.attrs |= ublkAttrReadOnly
		p.maxZeroes = 0
	}
	if info.WriteCache {
		// We flush behind a write with FUA, which saves the kernel a request.
		p.attrs |= ublkAttrCache | ublkAttrFUA
	}
	if info.Trim && !info.ReadOnly {
		p.maxDiscard = uint32(min(info.MaxTrim/SectorSize, math.MaxUint32))
		if info.TrimZeroes {
			p.maxZeroes = p.maxDiscard
		}
	}
	return p
}

// checkUblkTaken says why a device that was made for the disk earlier cannot be
// served any more, with the parameters it has and those it would be given now.
func checkUblkTaken(has, want ublkParams) error {
	switch {
	case has.sectors > want.sectors:
		return fmt.Errorf("the disk shrank from %d to %d sectors: what is beyond may be in use", has.sectors, want.sectors)
	case has.maxSectors > want.maxSectors:
		return fmt.Errorf("requests were of up to %d bytes: attach with --max-request %d as before",
			int(has.maxSectors)*SectorSize, int(has.maxSectors)*SectorSize)
	case has.attrs&ublkAttrReadOnly != want.attrs&ublkAttrReadOnly:
		return errOtherAccess
	case has.attrs&ublkAttrCache == 0 && want.attrs&ublkAttrCache != 0:
		return errNotFlushed
	case has.maxDiscard > want.maxDiscard || has.maxZeroes > want.maxZeroes && want.maxZeroes == 0:
		return errors.New("the disk no longer knows discard, which the device promised: start the target as before")
	}
	return nil
}

// Why a device that was left cannot be served.
var (
	errOtherAccess = errors.New("it was read-only before, or is to be now: attach as before")
	errNotFlushed  = errors.New("the target caches writes now, and the device, which was made when it did not, would not flush them: switch the target to write-through")
)

// TakeOverTime is how long taking over may take until the kernel has noticed
// that the process before died. When all requests of a ublk device were under
// way then, it finds out by their timeout, which we set to ublkTimeout; devices
// whose process died before it could have the kernel's 30 s.
const TakeOverTime = 90 * time.Second

const ublkTimeout = 5 * time.Second
