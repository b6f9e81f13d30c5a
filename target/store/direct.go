package store

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// bounceSize is how many bytes are copied at a time where a caller's
	// memory, or what it asks for, is not aligned: more than any request over
	// AoE, and any block of a device.
	bounceSize = 64 << 10
	// bounceBuffers is how many of those who need one at once get it without
	// waiting: as many as a target's workers for one disk by default.
	bounceBuffers = 8
)

// errNoDirect means that a file cannot be read and written past the page cache.
var errNoDirect = errors.New("its file system does no direct I/O: use sync or flush mode, or move it to ext4 or xfs")

// direct is what it takes to read and write a file past the page cache, which
// goes in whole blocks from and to aligned memory only. Who asks for less, or
// has other memory, is served through a bounce buffer, which is counted: the
// target places its buffers so that it does not happen.
type direct struct {
	f      io.ReaderAt
	w      io.WriterAt
	memory uintptr // what the address of a buffer must be a multiple of
	block  int64   // what an offset and a length must be a multiple of

	bounce  chan []byte // aligned, each of bounceSize
	bounced atomic.Uint64

	// parts excludes writes of parts of blocks, which read a block, change and
	// write it, from all other writes. It is the one lock here that is held
	// while a device is waited for, and not used at all where a block is one
	// sector.
	parts sync.RWMutex
}

// newDirect makes the buffers for a file whose window must begin and end with a
// whole block: the rest of a block at its edge is not ours to write again.
func newDirect(s *file, memory, block int64) (*direct, error) {
	if memory&(memory-1) != 0 || block&(block-1) != 0 || memory < 1 || block > bounceSize {
		return nil, fmt.Errorf("%s wants memory aligned to %d bytes and blocks of %d for direct I/O, which is beyond this program: "+
			"use sync or flush mode", s.cfg.Path, memory, block)
	}
	block = max(block, SectorSize)
	if size := s.size.Load(); s.cfg.Offset%block != 0 || size%block != 0 {
		return nil, fmt.Errorf("%s: direct I/O goes in blocks of %d bytes, and %d bytes from offset %d are not whole blocks: "+
			"use sync or flush mode, or a size and offset that are multiples", s.cfg.Path, block, size, s.cfg.Offset)
	}
	d := &direct{f: s.f, w: s.f, memory: uintptr(memory), block: block, bounce: make(chan []byte, bounceBuffers)}
	align := int(max(memory, block))
	slab := make([]byte, bounceBuffers*bounceSize+align)
	if rest := int(address(slab) % uintptr(align)); rest != 0 {
		slab = slab[align-rest:]
	}
	for i := range bounceBuffers {
		d.bounce <- slab[i*bounceSize : (i+1)*bounceSize : (i+1)*bounceSize]
	}
	return d, nil
}

// whole reports whether n bytes at off are whole blocks.
func (d *direct) whole(off, n int64) bool { return (off|n)&(d.block-1) == 0 }

// straight reports whether p can be handed to the kernel as it is.
func (d *direct) straight(p []byte, off int64) bool {
	return d.whole(off, int64(len(p))) && address(p)&(d.memory-1) == 0
}

// ReadAt implements io.ReaderAt.
func (d *direct) ReadAt(p []byte, off int64) (n int, err error) {
	if d.straight(p, off) {
		return d.f.ReadAt(p, off)
	}
	b := <-d.bounce
	defer func() { d.bounce <- b }()
	d.bounced.Add(1)
	for n < len(p) {
		at := off + int64(n)
		skip := at & (d.block - 1)
		want := d.up(min(skip+int64(len(p)-n), bounceSize))
		got, err := d.f.ReadAt(b[:want], at-skip)
		if int64(got) <= skip {
			return n, unexpected(err)
		}
		n += copy(p[n:], b[skip:got])
		if int64(got) < want {
			return n, err
		}
	}
	return n, nil
}

// up rounds n up to whole blocks.
func (d *direct) up(n int64) int64 { return (n + d.block - 1) &^ (d.block - 1) }

// WriteAt implements io.WriterAt.
func (d *direct) WriteAt(p []byte, off int64) (int, error) {
	unlock := d.exclude(off, int64(len(p)))
	defer unlock.Unlock()
	if d.straight(p, off) {
		return d.w.WriteAt(p, off)
	}
	b := <-d.bounce
	defer func() { d.bounce <- b }()
	d.bounced.Add(1)
	n := 0
	for n < len(p) {
		at := off + int64(n)
		skip := at & (d.block - 1)
		used := min(skip+int64(len(p)-n), bounceSize)
		blocks := b[:d.up(used)]
		if err := d.fill(blocks, at-skip, skip, used); err != nil {
			return n, err
		}
		copy(blocks[skip:used], p[n:])
		if _, err := d.w.WriteAt(blocks, at-skip); err != nil {
			return n, err
		}
		n += int(used - skip)
	}
	return n, nil
}

// fill reads the first and the last of the blocks from off on, unless they are
// written as a whole, from skip to used.
func (d *direct) fill(blocks []byte, off, skip, used int64) error {
	last := int64(len(blocks)) - d.block
	if skip > 0 || used < d.block {
		if n, err := d.f.ReadAt(blocks[:d.block], off); int64(n) < d.block {
			return unexpected(err)
		}
	}
	if last > 0 && used < int64(len(blocks)) {
		if n, err := d.f.ReadAt(blocks[last:], off+last); int64(n) < d.block {
			return unexpected(err)
		}
	}
	return nil
}

// exclude keeps a write of part of a block apart from all others, and others
// only from those. What it returns must be unlocked.
func (d *direct) exclude(off, n int64) sync.Locker {
	switch {
	case d.block == SectorSize:
		return unlocked{}
	case d.whole(off, n):
		d.parts.RLock()
		return d.parts.RLocker()
	}
	d.parts.Lock()
	return &d.parts
}

// unlocked is no lock.
type unlocked struct{}

func (unlocked) Lock()   {}
func (unlocked) Unlock() {}
