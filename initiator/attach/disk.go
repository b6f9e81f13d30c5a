package attach

import (
	"context"
	"errors"
	"fmt"

	"aoe/frame"
	"aoe/initiator"
)

// SectorSize is the unit of all offsets and lengths that a Disk takes: 512
// bytes, as on the wire.
const SectorSize = frame.SectorSize

// Operations are the initiator's.
type (
	// A Kind is what an operation does.
	Kind = initiator.Kind
	// An Op is one operation. Offset and Length are in bytes, multiples of
	// SectorSize and within the disk; both are zero for Flush.
	Op = initiator.Op
)

// The operations of a disk.
const (
	Read  = initiator.Read
	Write = initiator.Write
	Flush = initiator.Flush // everything acknowledged before becomes durable
	Trim  = initiator.Trim  // the contents are of no more use; see Info.TrimZeroes
)

// A Disk is what the front ends need of a disk; [Over] makes one of an
// *initiator.Disk. All methods may be called by any number of goroutines at the
// same time.
type Disk interface {
	// Info is what the disk is. It does not change.
	Info() Info

	// Size is the disk's size now, in bytes, a multiple of SectorSize. It may
	// change (H16).
	Size() int64

	// Admit reserves everything that is needed to finish op, waiting in order
	// of arrival until it is there, ctx is done or the disk is closed. Read
	// and Write take at most Info.MaxRequest bytes, Trim at most Info.MaxTrim.
	Admit(ctx context.Context, op Op) (Request, error)

	// TryAdmit is Admit without waiting: it reports whether everything could be
	// had at once. It never blocks. An operation that Admit would refuse is
	// never had.
	TryAdmit(op Op) (Request, bool)
}

// A Request is an admitted operation.
type Request interface {
	// Segments are the places of the data, in order, together as long as the
	// operation. For a write they are to be filled before Submit; for a read
	// they are valid from the callback, if Err is nil, until Release. The
	// slices must not be changed, only what they point to.
	Segments() [][]byte

	// Submit starts the operation. done is called exactly once, from the
	// disk's own goroutine, when it has ended; it must not block. It may call
	// Release, and Submit of another request.
	Submit(done func(Request))

	// Err is the outcome, valid from the callback until Release.
	Err() error

	// Release gives everything back. It is called exactly once, before Submit
	// (nothing is done then) or after the callback, never in between.
	Release()
}

// Info is what a disk is, as far as front ends care.
type Info struct {
	Name   string // the address, "e1.2"
	Serial string // the serial number; may be empty
	Model  string // for people; may be empty

	// BlockSize is the sector size that block devices should show, in bytes:
	// 512 or 4096. Zero means 512.
	BlockSize int
	// Preferred is the length in bytes of requests that use the path to the
	// disk well, its payload for instance. Zero means 4096.
	Preferred int
	// MaxRequest is the longest read or write in bytes that is admitted: a
	// positive multiple of SectorSize.
	MaxRequest int
	// MaxTrim is the longest trim in bytes. Zero means 1 GiB.
	MaxTrim int

	// Depth is how many requests can be admitted at once when memory is not
	// short. Zero means 64.
	Depth int

	// ReadOnly disks refuse Write and Trim.
	ReadOnly bool
	// WriteCache tells that acknowledged writes may be lost until a Flush.
	WriteCache bool
	// Trim tells that the disk knows the operation.
	Trim bool
	// TrimZeroes tells that what was trimmed is read as zeros, always.
	TrimZeroes bool
}

// withDefaults gives fields that are zero their meaning, or says what is wrong.
func (in Info) withDefaults() (Info, error) {
	if in.BlockSize == 0 {
		in.BlockSize = SectorSize
	}
	if in.BlockSize != 512 && in.BlockSize != 4096 {
		return in, fmt.Errorf("attach: block size %d: a disk has 512 or 4096", in.BlockSize)
	}
	if in.Preferred <= 0 {
		in.Preferred = 4096
	}
	if in.MaxRequest < in.BlockSize || in.MaxRequest%in.BlockSize != 0 {
		return in, fmt.Errorf("attach: a disk must admit requests of a positive multiple of %d bytes, not %d", in.BlockSize, in.MaxRequest)
	}
	if in.Depth <= 0 {
		in.Depth = initiator.DefaultDepth
	}
	if in.MaxTrim <= 0 {
		in.MaxTrim = 1 << 30
	}
	if in.MaxTrim%in.BlockSize != 0 {
		return in, fmt.Errorf("attach: longest trim of %d bytes is not a multiple of %d", in.MaxTrim, in.BlockSize)
	}
	return in, nil
}

// errNoDisk is what configurations without a disk get.
var errNoDisk = errors.New("attach: no disk given")

// segmentBytes is the sum of the lengths of segs.
func segmentBytes(segs [][]byte) int {
	n := 0
	for _, s := range segs {
		n += len(s)
	}
	return n
}

// clearSegments zeros what segs point to.
func clearSegments(segs [][]byte) {
	for _, s := range segs {
		clear(s)
	}
}

// deviceInfo is what a block device tells of d, which must have a block.
func deviceInfo(d Disk, readOnly bool) (Info, error) {
	if d == nil {
		return Info{}, errNoDisk
	}
	info, err := d.Info().withDefaults()
	if err != nil {
		return Info{}, err
	}
	if size := d.Size(); size < int64(info.BlockSize) {
		return Info{}, fmt.Errorf("attach: a disk of %d bytes has no block of %d", size, info.BlockSize)
	}
	info.ReadOnly = info.ReadOnly || readOnly
	return info, nil
}
