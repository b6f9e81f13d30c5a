package diskcopy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"aoe/initiator"
	"aoe/target/store"
)

// A Device is what is read from or written to. *initiator.Disk is one.
type Device interface {
	Read(ctx context.Context, p []byte, off int64) (int, error)
	Write(ctx context.Context, p []byte, off int64) (int, error)
	Flush(ctx context.Context) error
	Trim(ctx context.Context, off, n int64) error
}

// An End is one of the two ends of a copy.
type End struct {
	Device
	Name string // for people
	// ID is the same as long as it is the same disk; going on with another is
	// refused.
	ID   string
	Size int64 // in bytes, a multiple of 512
	// Blank: what was not written reads as zeros.
	Blank bool
	// TrimZeroes: what was trimmed reads as zeros.
	TrimZeroes bool

	dataMu sync.Mutex
	data   func(off int64) int64 // the next offset at or behind off that may hold anything but zeros; nil: unknown
	close  func() error
}

// Close closes what was opened for it.
func (e *End) Close() error {
	if e.close == nil {
		return nil
	}
	return e.close()
}

// Disk makes an end of an AoE disk.
func Disk(d *initiator.Disk) *End {
	id := d.Identify()
	return &End{
		Device: d, Name: d.Target().Addr.String(), Size: d.Size(), TrimZeroes: id.Trim && id.TrimZeroes,
		ID: fmt.Sprintf("aoe %s serial %q", d.Target().Addr, id.Serial), // some targets have no serial number
	}
}

// What a destination can be refused for.
var (
	// ErrExists: a file that is to be written to is there.
	ErrExists = errors.New("exists already")
	// ErrNotBlank: a disk that is to be written to holds something.
	ErrNotBlank = errors.New("is not blank")
)

// OpenSource opens a file, block device or URI to read from.
func OpenSource(path string) (*End, error) {
	s, err := store.Open(store.Config{Path: path, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	e, err := newStoreEnd(s, path)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if tail := s.Info().Tail; tail > 0 {
		s.Close()
		return nil, fmt.Errorf("%s: its last %d bytes are no whole sector: truncate -s %%512 %s pads it", path, tail, path)
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
		e.ID += fmt.Sprintf(", written %d", fi.ModTime().UnixNano())
		data, closeHoles := holes(path)
		e.data, e.close = data, func() error { return errors.Join(s.Close(), closeHoles()) }
	}
	return e, nil
}

// OpenDestination opens a file, block device or URI to write to. A file is made
// anew with the given size, unless it is to go on as it is; one that is there is
// overwritten only with force.
func OpenDestination(path string, size int64, force, goOn bool) (*End, error) {
	fi, err := os.Stat(path)
	regular := !store.IsURI(path) && (errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode().IsRegular())
	switch {
	case regular && goOn && err != nil:
		return nil, fmt.Errorf("%s: %w, though a copy to it was begun: remove the state file to begin anew", path, fs.ErrNotExist)
	case !regular || goOn:
	case err == nil && fi.Size() > 0 && !force:
		return nil, fmt.Errorf("%s %w: --force overwrites it", path, ErrExists)
	default:
		if err := blankFile(path, size); err != nil {
			return nil, err
		}
	}
	s, err := store.Open(store.Config{Path: path})
	if err != nil {
		return nil, err
	}
	e, err := newStoreEnd(s, path)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	e.Blank = regular
	return e, nil
}

// blankFile makes a file of zeros, whatever there was, if nobody uses it.
func blankFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// Opened as a store, it is locked: a file that is being served is not emptied.
	if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
		s, err := store.Open(store.Config{Path: path})
		if err != nil {
			return err
		}
		defer s.Close()
	}
	return errors.Join(os.Truncate(path, 0), os.Truncate(path, size))
}

func newStoreEnd(s store.Store, path string) (*End, error) {
	size, err := s.Size()
	if err != nil {
		return nil, err
	}
	info := s.Info()
	id := info.Identity
	if abs, err := filepath.Abs(path); id == "" && err == nil {
		id = abs
	}
	return &End{
		Device: storeDevice{s}, Name: path, ID: "store " + id, Size: size,
		TrimZeroes: info.Trim && info.TrimZeroes, close: s.Close,
	}, nil
}

// storeDevice is a Store whose calls do not wait for anybody far away, so that a
// context is looked at before each.
type storeDevice struct{ s store.Store }

func (d storeDevice) Read(ctx context.Context, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return d.s.ReadAt(p, off)
}

func (d storeDevice) Write(ctx context.Context, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return d.s.WriteAt(p, off)
}

func (d storeDevice) Flush(context.Context) error                { return d.s.Sync() }
func (d storeDevice) Trim(_ context.Context, off, n int64) error { return d.s.Trim(off, n) }
