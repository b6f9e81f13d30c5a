package store

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// SnapshotConfig says what to put a private copy-on-write layer on. Base is
// required.
type SnapshotConfig struct {
	// Base is read and never written: it must have been opened read-only. It
	// must not change either, as long as there is anything on top of it. The
	// snapshot closes it.
	Base Store
	// Path of the file that keeps the changes. It is made if it is not there,
	// and continued if it is and belongs to this base. Empty is a temporary file
	// without a name, gone with the process.
	Path string
	// Dir is where a temporary file is made. Empty is the system's place for
	// those.
	Dir string
}

// Snapshot opens a store that reads as base and can be written without touching
// it. What it is worth: without a Path nothing outlives the process, whatever
// was synced, and Info says so; with a Path what was synced does, as in a file.
// Calls must be of whole sectors.
func Snapshot(cfg SnapshotConfig) (Store, error) {
	s, err := openSnapshot(cfg)
	if err != nil {
		return nil, fmt.Errorf("store: snapshot: %w", err)
	}
	return s, nil
}

// openChanging is Open with Config.Snapshot.
func openChanging(cfg Config) (Store, error) {
	switch {
	case cfg.ReadOnly:
		return nil, fmt.Errorf("store: %s: a snapshot is there to be written: leave it out to read only", cfg.Path)
	case cfg.Direct:
		return nil, fmt.Errorf("store: %s: a snapshot does not go past the page cache: leave out direct", cfg.Path)
	}
	layer := SnapshotConfig{Path: cfg.Changes}
	cfg.Snapshot, cfg.Changes, cfg.ReadOnly = false, "", true
	var err error
	if layer.Base, err = Open(cfg); err != nil {
		return nil, err
	}
	s, err := Snapshot(layer)
	if err != nil {
		return nil, errors.Join(err, layer.Base.Close())
	}
	return s, nil
}

// A snapshot's file holds a header, one bit for each sector, and the sectors:
//
//	0                      header, dataAlign bytes: snapshotHeader
//	dataAlign              the bits, lowest first
//	snapshot.data          the sectors, each where it is on the disk
//
// A bit is set in the file only when its sector is on stable storage there, so a
// crash at any time leaves a disk with all that was synced, and of what was not,
// sector by sector, the new or the base.
type snapshot struct {
	base    Store
	layer   Prompt
	path    string // of the layer
	quick   Prompt // base, if it can
	private bool   // gone with the process
	size    int64
	data    int64 // offset of the sectors in the file
	info    Info

	pages []atomic.Pointer[page]

	syncing sync.Mutex // one Sync at a time; nothing else takes it
	pending []image    // of Sync: what it writes, kept for the next
}

const (
	snapshotMagic = "aoe snapshot 1\n\x00"
	dataAlign     = 4096

	// pageBits is how many sectors a page of bits is for: one sector of the
	// file. Only pages with a bit set take memory.
	pageBits  = 8 * SectorSize
	pageBytes = int64(pageBits) * SectorSize
)

// A page is the bits of 2 MiB of the disk.
type page struct {
	bits  [pageBits / 64]atomic.Uint64
	dirty atomic.Bool // differs from the file
}

// An image is a page on its way into the file.
type image struct {
	index int
	bits  [SectorSize]byte
}

var (
	errUnaligned = errors.New("store: a snapshot is read and written in whole sectors")
	errOtherBase = errors.New("the file belongs to another base, or the base has another size now")
)

// newSnapshot is a snapshot without its layer.
func newSnapshot(cfg SnapshotConfig) (*snapshot, error) {
	i := cfg.Base.Info()
	if !i.ReadOnly {
		return nil, fmt.Errorf("%s is not opened read-only", i.Name)
	}
	size, err := cfg.Base.Size()
	if err != nil {
		return nil, err
	}
	if size <= 0 {
		return nil, fmt.Errorf("%s has no sector", i.Name)
	}
	s := &snapshot{base: cfg.Base, size: size, private: cfg.Path == ""}
	s.quick, _ = cfg.Base.(Prompt)
	s.pages = make([]atomic.Pointer[page], (size+pageBytes-1)/pageBytes)
	bits := int64(len(s.pages)) * SectorSize
	s.data = dataAlign + (bits+dataAlign-1)/dataAlign*dataAlign
	return s, nil
}

func openSnapshot(cfg SnapshotConfig) (*snapshot, error) {
	s, err := newSnapshot(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.openLayer(cfg); err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.layer.Close())
	}
	return s, nil
}

// begin reads the layer, or makes an empty one of it.
func (s *snapshot) begin() error {
	i := s.base.Info()
	id, err := s.header(i.Identity)
	if err == nil && !s.private {
		err = s.load()
	}
	if err != nil {
		return err
	}
	own := s.layer.Info()
	s.info = Info{
		Name: i.Name + " (snapshot)", Identity: fmt.Sprintf("snapshot %x", id),
		PhysicalBlock: own.PhysicalBlock, Trim: own.Trim, TrimZeroes: own.TrimZeroes,
		Rotational: i.Rotational || own.Rotational, Volatile: s.private || own.Volatile, OneWriter: own.OneWriter,
	}
	return nil
}

// openLayer opens the file of the changes, as large as it has to be.
func (s *snapshot) openLayer(cfg SnapshotConfig) (err error) {
	var f *os.File
	if s.private {
		f, err = os.CreateTemp(cfg.Dir, "aoe-snapshot-")
	} else {
		f, err = os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return err
	}
	path := f.Name()
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() && st.Size() == 0 {
		err = f.Truncate(s.data + s.size)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		var f *file
		if f, err = open(Config{Path: path}); err == nil {
			s.layer, s.path = f, path
		}
	}
	if s.private {
		err = errors.Join(err, os.Remove(path))
		if err != nil && s.layer != nil {
			s.layer.Close()
		}
	}
	return err
}

// header checks the header of the file, or writes one, and returns the random
// number that the file is known by.
func (s *snapshot) header(base string) (id []byte, err error) {
	if have, _ := s.layer.Size(); have != s.data+s.size {
		return nil, fmt.Errorf("%s: %w", s.path, errOtherBase)
	}
	var b, zero [SectorSize]byte
	if _, err := s.layer.ReadAt(b[:], 0); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(base))
	want := append([]byte(snapshotMagic), sum[:]...)
	want = binary.BigEndian.AppendUint64(want, uint64(s.size))
	switch n := len(want); {
	case bytes.HasPrefix(b[:], want):
		return b[n : n+16], nil
	case b != zero:
		return nil, fmt.Errorf("%s: %w", s.path, errOtherBase)
	default:
		id = b[n : n+16]
		copy(b[:], want)
		rand.Read(id) // never fails: crypto/rand
	}
	if _, err := s.layer.WriteAt(b[:], 0); err != nil {
		return nil, err
	}
	return id, s.layer.Sync()
}

// load reads the bits.
func (s *snapshot) load() error {
	var b, zero [SectorSize]byte
	for i := range s.pages {
		if _, err := s.layer.ReadAt(b[:], s.pageOffset(i)); err != nil {
			return err
		}
		if b == zero {
			continue
		}
		p := new(page)
		for k := range p.bits {
			p.bits[k].Store(binary.LittleEndian.Uint64(b[8*k:]))
		}
		s.pages[i].Store(p)
	}
	return nil
}

func (s *snapshot) pageOffset(i int) int64 { return dataAlign + int64(i)*SectorSize }

// page is the one for the byte at off, made if need be.
func (s *snapshot) page(off int64) *page {
	at := &s.pages[off/pageBytes]
	if p := at.Load(); p != nil {
		return p
	}
	at.CompareAndSwap(nil, new(page))
	return at.Load()
}

// ours reports whether the sector at off is in the layer.
func (s *snapshot) ours(off int64) bool {
	p := s.pages[off/pageBytes].Load()
	n := off / SectorSize % pageBits
	return p != nil && p.bits[n/64].Load()>>(n%64)&1 != 0
}

// run is how many bytes from off on, at most n, are all in the layer, or all in
// the base.
func (s *snapshot) run(off, n int64) (length int64, ours bool) {
	ours = s.ours(off)
	for length = SectorSize; length < n && s.ours(off+length) == ours; length += SectorSize {
	}
	return length, ours
}

// take makes n bytes from off on the layer's, which has them.
func (s *snapshot) take(off, n int64) {
	for end := off + n; off < end; off += SectorSize {
		p, n := s.page(off), off/SectorSize%pageBits
		if p.bits[n/64].Or(1<<(n%64))>>(n%64)&1 == 0 {
			p.dirty.Store(true) // after the bit: see Sync
		}
	}
}

// check refuses a call of n bytes at off.
func (s *snapshot) check(off, n int64) error {
	switch {
	case n < 0 || off < 0 || off > s.size || n > s.size-off:
		return ErrRange
	case off%SectorSize != 0 || n%SectorSize != 0:
		return errUnaligned
	}
	return nil
}

func (s *snapshot) ReadAt(p []byte, off int64) (int, error) {
	if err := s.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		n, ours := s.run(off+int64(done), int64(len(p)-done))
		part := p[done : done+int(n)]
		var err error
		if ours {
			_, err = s.layer.ReadAt(part, s.data+off+int64(done))
		} else {
			_, err = s.base.ReadAt(part, off+int64(done))
		}
		if errors.Is(err, ErrRange) {
			err = io.ErrUnexpectedEOF // the base has become shorter
		}
		if err != nil {
			return done, err
		}
		done += int(n)
	}
	return len(p), nil
}

func (s *snapshot) WriteAt(p []byte, off int64) (int, error) {
	if err := s.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.layer.WriteAt(p, s.data+off)
	if err == nil {
		s.take(off, int64(n))
	}
	return n, err
}

// Trim frees the sectors in the layer, where they are read as zeros from then
// on.
func (s *snapshot) Trim(off, n int64) error {
	if err := s.check(off, n); err != nil || !s.info.Trim {
		return err
	}
	if err := s.layer.Trim(s.data+off, n); err != nil {
		return err
	}
	s.take(off, n)
	return nil
}

// Sync makes the sectors durable, and then their bits. A sector that is written
// meanwhile sets its bit and makes the page dirty again, in this order.
func (s *snapshot) Sync() error {
	if s.private {
		return nil
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.pending = s.pending[:0]
	for i := range s.pages {
		p := s.pages[i].Load()
		if p == nil || !p.dirty.Swap(false) {
			continue
		}
		s.pending = append(s.pending, image{index: i})
		b := &s.pending[len(s.pending)-1].bits
		for k := range p.bits {
			binary.LittleEndian.PutUint64(b[8*k:], p.bits[k].Load())
		}
	}
	if err := s.layer.Sync(); err != nil || len(s.pending) == 0 {
		return err
	}
	for i := range s.pending {
		p := &s.pending[i]
		if _, err := s.layer.WriteAt(p.bits[:], s.pageOffset(p.index)); err != nil {
			return err
		}
	}
	return s.layer.Sync()
}

// Size implements Store: that of the base when the snapshot was opened.
func (s *snapshot) Size() (int64, error) { return s.size, nil }

// Info implements Store.
func (s *snapshot) Info() Info {
	i, own := s.info, s.layer.Info()
	i.Trim, i.TrimZeroes = own.Trim, own.TrimZeroes
	return i
}

// ReadNow implements Prompt.
func (s *snapshot) ReadNow(p []byte, off int64) error {
	if err := s.check(off, int64(len(p))); err != nil {
		return err
	}
	for done := int64(0); done < int64(len(p)); {
		n, ours := s.run(off+done, int64(len(p))-done)
		err := ErrWouldBlock
		if ours {
			err = s.layer.ReadNow(p[done:done+n], s.data+off+done)
		} else if s.quick != nil {
			err = s.quick.ReadNow(p[done:done+n], off+done)
		}
		if err != nil {
			return err
		}
		done += n
	}
	return nil
}

// WriteNow implements Prompt.
func (s *snapshot) WriteNow(p []byte, off int64) error {
	if err := s.check(off, int64(len(p))); err != nil {
		return err
	}
	err := s.layer.WriteNow(p, s.data+off)
	if err == nil {
		s.take(off, int64(len(p)))
	}
	return err
}

// SyncNow implements Prompt.
func (s *snapshot) SyncNow() error {
	if s.private {
		return nil
	}
	return ErrWouldBlock
}

// Close implements Store.
func (s *snapshot) Close() error { return errors.Join(s.layer.Close(), s.base.Close()) }
