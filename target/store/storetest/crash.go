package storetest

import (
	"math/rand/v2"
	"sync"

	"aoe/target/store"
)

// A Crash is a disk in memory with a write cache: what was written and not
// synced may be lost. It never answers without waiting, as a real disk.
type Crash struct {
	mu     sync.Mutex
	now    []byte
	stable []byte
	dirty  map[int64]bool // sectors that differ, or may
}

// NewCrash makes one of size bytes.
func NewCrash(size int64) *Crash {
	size -= size % store.SectorSize
	return &Crash{now: make([]byte, size), stable: make([]byte, size), dirty: map[int64]bool{}}
}

// Crash is the power failing: it returns what a restart finds, which is all
// that was synced and, sector by sector, as rng decides, some of what was not.
// The store itself goes on, so that whoever still uses it does no harm.
func (c *Crash) Crash(rng *rand.Rand) *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := NewCrash(int64(len(c.now)))
	copy(after.stable, c.stable)
	for at := int64(0); at < int64(len(c.now)); at += store.SectorSize {
		if c.dirty[at] && rng.IntN(2) == 0 {
			copy(after.stable[at:at+store.SectorSize], c.now[at:])
		}
	}
	copy(after.now, after.stable)
	return after
}

func (c *Crash) outside(off, n int64) bool {
	return off < 0 || n < 0 || off > int64(len(c.now)) || n > int64(len(c.now))-off
}

// touch marks the sectors of a range as not synced.
func (c *Crash) touch(off, n int64) {
	for at := off - off%store.SectorSize; at < off+n; at += store.SectorSize {
		c.dirty[at] = true
	}
}

// ReadAt implements store.Store.
func (c *Crash) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outside(off, int64(len(p))) {
		return 0, store.ErrRange
	}
	return copy(p, c.now[off:]), nil
}

// WriteAt implements store.Store.
func (c *Crash) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outside(off, int64(len(p))) {
		return 0, store.ErrRange
	}
	c.touch(off, int64(len(p)))
	return copy(c.now[off:], p), nil
}

// Sync implements store.Store.
func (c *Crash) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := range c.dirty {
		copy(c.stable[at:at+store.SectorSize], c.now[at:])
	}
	clear(c.dirty)
	return nil
}

// Trim implements store.Store.
func (c *Crash) Trim(off, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outside(off, n) {
		return store.ErrRange
	}
	c.touch(off, n)
	clear(c.now[off : off+n])
	return nil
}

// Size implements store.Store.
func (c *Crash) Size() (int64, error) { return int64(len(c.now)), nil }

// Info implements store.Store.
func (c *Crash) Info() store.Info {
	return store.Info{Name: "crash", Identity: "crash", PhysicalBlock: store.SectorSize, Trim: true}
}

// Close implements store.Store.
func (c *Crash) Close() error { return nil }
