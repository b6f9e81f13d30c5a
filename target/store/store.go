package store

import (
	"errors"
	"io"

	"aoe/frame"
)

// SectorSize is the unit of windows and sizes in bytes, AoE's sector.
const SectorSize = frame.SectorSize

// A Store is the bytes of a disk.
type Store interface {
	// ReadAt fills p from off, or returns an error: ErrRange when that is not
	// inside the store, io.ErrUnexpectedEOF when the file has become shorter.
	// It differs from io.ReaderAt in that p is always filled when err is nil.
	ReadAt(p []byte, off int64) (n int, err error)

	// WriteAt writes all of p at off, or returns an error and has written
	// some part of it. A read-only store returns ErrReadOnly.
	WriteAt(p []byte, off int64) (n int, err error)

	// Sync returns when every write that had returned before is on stable
	// storage.
	Sync() error

	// Trim tells that the n bytes at off are no longer needed. Reading them
	// afterwards gives zeros, or what was there unless Info.TrimZeroes was told
	// at some time. Where Info never told of trim it does nothing.
	Trim(off, n int64) error

	// Size asks for the size in bytes as it is now, a multiple of SectorSize,
	// and makes it the bound of the other methods. Nothing else notices that
	// a file has grown or shrunk.
	Size() (int64, error)

	// Info tells what kind of store this is. It does not change, except that
	// Trim, and with it TrimZeroes, may become false when the file system turns
	// out not to do it.
	Info() Info

	// Close releases the store without Sync.
	Close() error
}

// Info describes a Store.
type Info struct {
	// Name is the path it was opened with, or what it is: "memory".
	Name string
	// Identity is the same for every path that leads to the same store, and
	// survives a restart as long as the store does. It differs for a copy.
	// It is text of any length; empty means that there is none.
	Identity string
	// PhysicalBlock is the size in bytes that is best written as a whole,
	// a power of two from SectorSize up.
	PhysicalBlock int
	// Trim tells that Trim frees space.
	Trim bool
	// TrimZeroes tells that what was trimmed is read as zeros, always.
	TrimZeroes bool
	// Cache names where that is which was written and not synced. Who opens the
	// store later and is told the same name finds all of it there, unless a
	// sync has failed. Empty: it is gone with the process, or may be.
	Cache string
	// ReadOnly tells that it was opened so.
	ReadOnly bool
	// Rotational tells that the medium is known to be a spinning one.
	Rotational bool
	// Volatile tells that there is no stable storage beneath: memory, tmpfs.
	// Sync has nothing to do there.
	Volatile bool
	// Direct tells that it goes past the page cache.
	Direct bool
	// OneWriter tells that it is written by one at a time, however many try:
	// a file system locks a file for each buffered write.
	OneWriter bool
	// Writers is how many writes had better be under way at once, because they
	// share what makes them durable and each waits for it. Zero tells nothing.
	Writers int
	// Tail is how many bytes at the end are not served because they are not
	// a whole sector. Always less than SectorSize.
	Tail int
}

// A Prompt store can answer some calls without waiting for a device, so that
// one goroutine can serve requests as they arrive and hand only those that have
// to wait to somebody else. Each method does what its namesake does, or returns
// ErrWouldBlock having done nothing that matters: p is in any state after
// ReadNow, some part may be written after WriteNow.
type Prompt interface {
	Store
	ReadNow(p []byte, off int64) error
	WriteNow(p []byte, off int64) error
	SyncNow() error
}

// A Bouncer is a Store that goes past the page cache and tells how many reads and
// writes it had to copy because they were not aligned as the device wants it.
type Bouncer interface {
	Store
	Bounced() uint64
}

// What a Store or Open can refuse, beside what the system says.
var (
	// ErrRange means that a call reached beyond the end.
	ErrRange = errors.New("store: beyond the end")
	// ErrReadOnly means a write to, or a trim of, a store opened read-only.
	ErrReadOnly = errors.New("store: opened read-only")
	// ErrWouldBlock means that a Prompt method would have to wait.
	ErrWouldBlock = errors.New("store: would have to wait")
	// ErrLocked means that somebody else serves the file or uses the device.
	ErrLocked = errors.New("in use")
)

// Config says what to open. Path is required.
type Config struct {
	// Path of a regular file or block device that exists, or a URI: see the
	// package comment.
	Path string
	// Offset in bytes of the first byte served, a multiple of SectorSize.
	// Zero is the beginning; negative is refused.
	Offset int64
	// Length in bytes of what is served, a multiple of SectorSize. Zero is
	// all there is behind Offset, growing with the file; negative is refused.
	Length int64
	// ReadOnly opens for reading only, and refuses writes.
	ReadOnly bool
	// Direct reads and writes past the page cache (O_DIRECT). The window must
	// be made of whole blocks of the device. A file system that does not do it
	// is refused, and so is every system but Linux.
	Direct bool
	// Durable says that nothing is answered before it is on stable storage, so
	// that an NBD server had better put writes there as they are made; see
	// NBDConfig. A file needs nothing of it.
	Durable bool
	// Snapshot opens for reading only, puts a private copy-on-write layer on
	// it, and is written there. Changes is the file that keeps what was
	// written; empty is a temporary file, gone with the process. See
	// SnapshotConfig.
	Snapshot bool
	Changes  string
}

// inside reports whether n bytes at off are within size, without overflow.
func inside(off int64, n int, size int64) bool {
	return off >= 0 && off <= size && int64(n) <= size-off
}

// unexpected makes of the end of a file what it is in the middle of a disk.
func unexpected(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
