package store

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// Open opens the file, block device or URI that cfg names. The caller closes it.
func Open(cfg Config) (Store, error) {
	if cfg.Snapshot || cfg.Changes != "" {
		return openChanging(cfg)
	}
	if IsURI(cfg.Path) {
		return openURI(cfg)
	}
	f, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return f, nil
}

// A file is a window of a regular file or block device.
type file struct {
	f       *os.File
	cfg     Config
	info    Info
	device  bool         // a block device
	size    atomic.Int64 // of the window, as last asked
	noTrim  atomic.Bool  // punching a hole was refused
	prompt  promptness   // what can be done without waiting
	noQuick atomic.Bool  // the file system does not know how not to wait
	direct  *direct      // nil: through the page cache
}

// promptness is how a file's system behaves, apart from what it says when asked.
type promptness uint8

const (
	asksKernel promptness = iota // the kernel knows for each read
	inMemory                     // reads, writes and syncs need no device
	waits                        // everything needs the device
)

func open(cfg Config) (*file, error) {
	if cfg.Offset < 0 || cfg.Length < 0 || cfg.Offset%SectorSize != 0 || cfg.Length%SectorSize != 0 {
		return nil, fmt.Errorf("%s: offset %d and length %d must be multiples of %d and not negative",
			cfg.Path, cfg.Offset, cfg.Length, SectorSize)
	}
	st, err := os.Stat(cfg.Path)
	if err != nil {
		return nil, err
	}
	device := st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
	if !st.Mode().IsRegular() && !device {
		return nil, fmt.Errorf("%s is neither a regular file nor a block device", cfg.Path)
	}
	f, err := openFile(cfg, device)
	if err != nil {
		return nil, err
	}
	s := &file{f: f, cfg: cfg, device: device}
	if err := s.prepare(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// prepare locks the file and finds out what it is.
func (s *file) prepare() error {
	whole, err := s.wholeSize()
	if err != nil {
		return err
	}
	if s.cfg.Offset+max(s.cfg.Length, SectorSize) > whole {
		return fmt.Errorf("%s has %d bytes: nothing can be served from offset %d, length %d",
			s.cfg.Path, whole, s.cfg.Offset, s.cfg.Length)
	}
	if err := s.lock(); err != nil {
		return err
	}
	s.setSize(whole)
	s.info = Info{Name: s.cfg.Path, PhysicalBlock: SectorSize, ReadOnly: s.cfg.ReadOnly, OneWriter: !s.device}
	if s.cfg.Length == 0 {
		s.info.Tail = int((whole - s.cfg.Offset) % SectorSize)
	}
	if err := s.describe(); err != nil || !s.cfg.Direct {
		return err
	}
	return s.goDirect()
}

// goDirect finds out what the device wants, and tries it: there are file systems
// that open a file for direct I/O and then do not do it.
func (s *file) goDirect() error {
	memory, block, err := s.alignment()
	if err != nil {
		return err
	}
	d, err := newDirect(s, memory, block)
	if err != nil {
		return err
	}
	b := <-d.bounce
	if n, err := d.f.ReadAt(b[:d.block], s.cfg.Offset); int64(n) < d.block {
		return fmt.Errorf("%s: the first block cannot be read directly (%w): use sync or flush mode", s.cfg.Path, unexpected(err))
	}
	d.bounce <- b
	s.direct = d
	if s.prompt != inMemory {
		s.prompt = waits
	}
	s.info.Direct = true
	s.info.OneWriter = false // file systems lock a part of a file, if at all
	s.info.PhysicalBlock = max(s.info.PhysicalBlock, int(d.block))
	return nil
}

// setSize makes what is left of a file of whole bytes the window's size.
func (s *file) setSize(whole int64) int64 {
	n := max(whole-s.cfg.Offset, 0)
	if s.cfg.Length > 0 {
		n = min(n, s.cfg.Length)
	}
	n -= n % SectorSize
	if s.direct != nil {
		n -= n % s.direct.block
	}
	s.size.Store(n)
	return n
}

func (s *file) Size() (int64, error) {
	whole, err := s.wholeSize()
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	return s.setSize(whole), nil
}

func (s *file) Info() Info {
	i := s.info
	i.Trim = i.Trim && !s.noTrim.Load()
	i.TrimZeroes = i.TrimZeroes && i.Trim
	return i
}

func (s *file) ReadAt(p []byte, off int64) (int, error) {
	if !inside(off, len(p), s.size.Load()) {
		return 0, ErrRange
	}
	n, err := s.readAt(p, s.cfg.Offset+off)
	if n < len(p) {
		return n, unexpected(err)
	}
	return n, nil
}

func (s *file) WriteAt(p []byte, off int64) (int, error) {
	if s.cfg.ReadOnly {
		return 0, ErrReadOnly
	}
	if !inside(off, len(p), s.size.Load()) {
		return 0, ErrRange
	}
	if s.direct != nil {
		return s.direct.WriteAt(p, s.cfg.Offset+off)
	}
	return s.f.WriteAt(p, s.cfg.Offset+off)
}

func (s *file) readAt(p []byte, at int64) (int, error) {
	if s.direct != nil {
		return s.direct.ReadAt(p, at)
	}
	return s.f.ReadAt(p, at)
}

// Bounced implements Bouncer.
func (s *file) Bounced() uint64 {
	if s.direct == nil {
		return 0
	}
	return s.direct.bounced.Load()
}

func (s *file) Sync() error { return s.datasync() }

func (s *file) Trim(off, n int64) error {
	switch {
	case s.cfg.ReadOnly:
		return ErrReadOnly
	case n < 0 || off < 0 || off > s.size.Load() || n > s.size.Load()-off:
		return ErrRange
	case n == 0 || !s.info.Trim:
		return nil
	}
	if !s.noTrim.Load() {
		err := s.forget(s.cfg.Offset+off, n)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		// "EOPNOTSUPP The filesystem containing the file referred to by fd
		// does not support this operation" (fallocate(2)): from now on Info
		// says so.
		s.noTrim.Store(true)
	}
	if !s.info.TrimZeroes {
		return nil
	}
	return s.zero(off, n) // it was promised, and some initiator counts on it
}

// forget discards, apart from writes of parts of the same blocks.
func (s *file) forget(at, n int64) error {
	if s.direct != nil {
		lock := s.direct.exclude(at, n)
		defer lock.Unlock()
	}
	return s.discard(at, n)
}

// zeros are written where a hole cannot be made. They are only read.
var zeros [64 << 10]byte

// zero writes zeros to n bytes at off.
func (s *file) zero(off, n int64) error {
	for n > 0 {
		part := min(n, int64(len(zeros)))
		if _, err := s.WriteAt(zeros[:part], off); err != nil {
			return err
		}
		off, n = off+part, n-part
	}
	return nil
}

// ReadNow implements Prompt.
func (s *file) ReadNow(p []byte, off int64) error {
	if !inside(off, len(p), s.size.Load()) {
		return ErrRange
	}
	if s.prompt == waits || s.prompt == asksKernel && s.noQuick.Load() {
		return ErrWouldBlock
	}
	return s.readNow(p, s.cfg.Offset+off)
}

// WriteNow implements Prompt. Only what is in memory can be written without
// waiting: ext4 refuses RWF_NOWAIT for buffered writes.
func (s *file) WriteNow(p []byte, off int64) error {
	if s.prompt != inMemory {
		return ErrWouldBlock
	}
	_, err := s.WriteAt(p, off)
	return err
}

// SyncNow implements Prompt.
func (s *file) SyncNow() error {
	if s.prompt != inMemory {
		return ErrWouldBlock
	}
	return nil
}

func (s *file) Close() error { return s.f.Close() }
