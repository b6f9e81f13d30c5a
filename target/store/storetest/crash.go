package storetest

import (
	"errors"
	"math/rand/v2"
	"sync"

	"aoe/target/store"
)

// ErrPower is what every call gets from the one in which the power fails on.
var ErrPower = errors.New("storetest: the power has failed")

// A Crash is a disk in memory with a write cache: what was written and not
// synced may be lost, sector by sector. It never answers without waiting, as a
// real disk.
type Crash struct {
	mu     sync.Mutex
	now    []byte   // what a read sees
	stable []byte   // what was synced
	cache  []cached // what was written since, in order
	size   int64

	rng   *rand.Rand // of the failure
	left  int        // calls until the power fails; negative: it does not
	dead  bool
	down  chan struct{}
	syncs int
}

// A cached is one sector of a write that was not synced.
type cached struct {
	at   int64
	data [store.SectorSize]byte
}

// NewCrash makes one of size bytes, rounded down to whole sectors.
func NewCrash(size int64) *Crash {
	size -= size % store.SectorSize
	return &Crash{now: make([]byte, size), stable: make([]byte, size), size: size, left: -1, down: make(chan struct{})}
}

// FailAfter lets the power fail in the middle of the call after that many more:
// a write leaves some of its sectors in the cache, a sync has made some of the
// cache stable, as the seed decides. Nothing is done ever after, until Restart.
func (c *Crash) FailAfter(seed uint64, calls int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rng, c.left = rand.New(rand.NewPCG(seed, 0)), calls
}

// Down is closed when the power has failed.
func (c *Crash) Down() <-chan struct{} { return c.down }

// Syncs is how many syncs have returned nil.
func (c *Crash) Syncs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.syncs
}

// Restart is the power coming back, having failed now at the latest: it returns
// what is found then, which is all that was synced and, as rng decides for each
// sector of each write, some of what was not. The old store is of no more use.
func (c *Crash) Restart(rng *rand.Rand) *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked()
	c.keepLocked(rng)
	after := NewCrash(c.size)
	copy(after.stable, c.stable)
	copy(after.now, c.stable)
	return after
}

// keepLocked makes some of the cache stable.
func (c *Crash) keepLocked(rng *rand.Rand) {
	for i := range c.cache {
		if rng.IntN(2) == 0 {
			copy(c.stable[c.cache[i].at:], c.cache[i].data[:])
		}
	}
}

func (c *Crash) failLocked() {
	if !c.dead {
		c.dead = true
		close(c.down)
	}
}

// enterLocked counts a call, and reports whether the power fails in it.
func (c *Crash) enterLocked() (fails bool, err error) {
	switch {
	case c.dead:
		return false, ErrPower
	case c.left == 0:
		c.failLocked()
		return true, nil
	case c.left > 0:
		c.left--
	}
	return false, nil
}

func (c *Crash) outside(off, n int64) bool {
	return off < 0 || n < 0 || off > c.size || n > c.size-off
}

// putLocked puts the sectors from off to end, which are as they should be in
// now, into the cache; only some if the power fails.
func (c *Crash) putLocked(off, end int64, fails bool) {
	for at := off - off%store.SectorSize; at < end; at += store.SectorSize {
		if !fails || c.rng.IntN(2) == 0 {
			c.cache = append(c.cache, cached{at, [store.SectorSize]byte(c.now[at:])})
		}
	}
}

// change carries out a write or trim of n bytes at off.
func (c *Crash) change(off, n int64, do func(at []byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outside(off, n) {
		return store.ErrRange
	}
	fails, err := c.enterLocked()
	if err != nil {
		return err
	}
	do(c.now[off : off+n])
	c.putLocked(off, off+n, fails)
	if fails {
		return ErrPower
	}
	return nil
}

// ReadAt implements store.Store.
func (c *Crash) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outside(off, int64(len(p))) {
		return 0, store.ErrRange
	}
	if fails, err := c.enterLocked(); fails || err != nil {
		return 0, ErrPower
	}
	return copy(p, c.now[off:]), nil
}

// WriteAt implements store.Store.
func (c *Crash) WriteAt(p []byte, off int64) (int, error) {
	if err := c.change(off, int64(len(p)), func(at []byte) { copy(at, p) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Trim implements store.Store.
func (c *Crash) Trim(off, n int64) error {
	return c.change(off, n, func(at []byte) { clear(at) })
}

// Sync implements store.Store.
func (c *Crash) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fails, err := c.enterLocked()
	switch {
	case err != nil:
		return err
	case fails:
		c.keepLocked(c.rng)
		return ErrPower
	}
	for i := range c.cache {
		copy(c.stable[c.cache[i].at:], c.cache[i].data[:])
	}
	c.cache = c.cache[:0]
	c.syncs++
	return nil
}

// Size implements store.Store.
func (c *Crash) Size() (int64, error) { return c.size, nil }

// Info implements store.Store.
func (c *Crash) Info() store.Info {
	return store.Info{
		Name: "crash", Identity: "crash", PhysicalBlock: store.SectorSize,
		Trim: true, TrimZeroes: true, Direct: true,
	}
}

// Close implements store.Store.
func (c *Crash) Close() error { return nil }
