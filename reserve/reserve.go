package reserve

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
)

// ErrTooLarge refuses a claim that could never be served when normal memory
// fails: waiting would not help (I14).
var ErrTooLarge = errors.New("reserve: claim is larger than the reserve can ever serve: raise Config.Reserve or claim less")

// ErrClosed is what waiting and late callers get after Close.
var ErrClosed = fmt.Errorf("reserve: %w", os.ErrClosed)

// A memory is the system's side: the only part that can fail or hang.
type memory interface {
	// mapping returns zeroed memory of that many bytes, backed by pages.
	mapping(bytes int, lock bool) ([]byte, error)
	unmap([]byte) error
	// available is the bytes that the system can give without distress.
	available() int64
	total() int64
	close() error
}

// unknown is what available and total are where nobody can say.
const unknown = math.MaxInt64

// A Reserve is the arena, who has which part of it, and who waits for one.
type Reserve struct {
	cfg     Config
	layout  layout
	mem     memory
	keep    int64 // KeepAvailable, resolved
	arena   []byte
	buffers []Buffer // every header there will ever be: the reserve's, then the slabs'

	// version tells stocks, without a lock, that the regime or the free
	// normal memory has changed in a way that concerns them.
	version atomic.Uint32

	wake    chan struct{} // tells the grower that there is work
	stopped chan struct{} // closed when the grower has ended

	mu sync.Mutex // guards everything below

	sealed, closed bool

	freeReserve freeList
	slabs       slabs // free normal memory is in here
	granted     int   // buffers in grants
	stocked     int   // buffers in stocks

	want       int // sum of the stocks' sizes in normal
	guaranteed int // sum of the stocks' sizes in crunch
	stocks     []*Stock
	grants     int // grants made
	largest    int // of the grants' greatest claims

	waiting queue // claims that wait, first come, first served
	notify  queue // grants whose function is to be called
	calling bool  // somebody is calling them

	regime  regime
	working bool // somebody is mapping or unmapping
	stats   counters
}

// New maps and locks the reserve, or fails: later nothing of it can.
func New(cfg Config) (*Reserve, error) {
	mem, err := systemMemory()
	if err != nil {
		return nil, err
	}
	r, err := newBacked(cfg, mem)
	if err != nil {
		return nil, errors.Join(err, mem.close())
	}
	return r, nil
}

// newBacked does not begin what the system could not finish.
func newBacked(cfg Config, mem memory) (*Reserve, error) {
	full, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := backed(mem, full.layout().bytes(full.Reserve), 0); err != nil {
		return nil, err
	}
	return newReserve(cfg, mem)
}

func newReserve(cfg Config, mem memory) (*Reserve, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Reserve{
		cfg:     cfg,
		layout:  cfg.layout(),
		mem:     mem,
		buffers: make([]Buffer, cfg.Reserve+cfg.Normal),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	if r.arena, err = mem.mapping(r.layout.bytes(cfg.Reserve), cfg.Lock); err != nil {
		return nil, fmt.Errorf("reserve: %d buffers of %d bytes: %w", cfg.Reserve, cfg.BufferSize, err)
	}
	r.keep = cfg.KeepAvailable
	if r.keep == 0 {
		r.keep = defaultKeep(mem.total())
	}
	for i := range cfg.Reserve {
		r.buffers[i] = Buffer{Data: r.layout.at(r.arena, i), index: int32(i), slab: -1, origin: FromReserve, state: free}
	}
	for i := cfg.Reserve - 1; i >= 0; i-- {
		r.freeReserve.push(&r.buffers[i])
	}
	r.slabs.init(cfg.slabBuffers(), r.buffers[cfg.Reserve:], int32(cfg.Reserve))
	r.regime.patience = minPatience
	r.stats.reserveLow = cfg.Reserve
	return r, nil
}

// Seal ends start-up: from here on nothing allocates on the heap, NewGrant and
// NewStock panic, and normal memory is grown ahead of need by a goroutine of
// its own, so that no caller ever waits in the system's allocator (I7, I10).
// Before Seal the callers themselves grow it, one slab at a time and only as
// far as they need: so a single goroutine gives the same run for the same seed.
func (r *Reserve) Seal() {
	r.mu.Lock()
	if r.sealed || r.closed {
		r.mu.Unlock()
		return
	}
	r.sealed = true
	r.mu.Unlock()
	r.work()      // the first of what will be needed, while waiting is still cheap
	go r.grower() // ends in Close
}

// Close ends the waiting claims with ErrClosed and unmaps everything. Whoever
// owned a Stock must have ended before. With grants still out it returns an
// error, and the memory stays: another goroutine may be reading it.
func (r *Reserve) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.version.Add(1)
	for g := r.waiting.pop(); g != nil; g = r.waiting.pop() {
		r.finish(g, ErrClosed)
	}
	sealed, held := r.sealed, r.granted
	r.unlock()
	if sealed {
		close(r.wake)
		<-r.stopped
	}
	if held > 0 {
		return fmt.Errorf("reserve: closed with %d buffers granted, memory not unmapped: release every grant before Close", held)
	}
	return r.unmapAll()
}

func (r *Reserve) unmapAll() error {
	err := r.mem.unmap(r.arena)
	for i := range r.slabs.all {
		if s := &r.slabs.all[i]; s.mapping != nil {
			err = errors.Join(err, r.mem.unmap(s.mapping))
		}
	}
	return errors.Join(err, r.mem.close())
}

// claimable is the largest claim that can always be served: what is not
// guaranteed to the stocks.
func (r *Reserve) claimable() int { return r.cfg.Reserve - r.guaranteed }

// freeNormal is the buffers that lie free in mapped slabs.
func (r *Reserve) freeNormal() int { return r.slabs.free }

// surplus is what the stocks hold above their guarantees.
func (r *Reserve) surplus() int { return r.stocked - r.guaranteed }

// missing is what the stocks lack of their sizes in normal.
func (r *Reserve) missing() int { return r.want - r.stocked }

// put frees a buffer that is in state from.
func (r *Reserve) put(b *Buffer, from state) {
	b.move(from, free)
	if b.origin == FromReserve {
		r.freeReserve.push(b)
	} else {
		r.slabs.put(b)
	}
}

func (r *Reserve) takeReserve(to state) *Buffer {
	b := r.freeReserve.pop()
	b.move(free, to)
	r.stats.reserveLow = min(r.stats.reserveLow, r.freeReserve.n)
	return b
}

func (r *Reserve) takeNormal(to state) *Buffer {
	b := r.slabs.take()
	b.move(free, to)
	return b
}

// takeAny prefers normal memory.
func (r *Reserve) takeAny(to state) *Buffer {
	if r.freeNormal() > 0 {
		return r.takeNormal(to)
	}
	return r.takeReserve(to)
}

// unlock ends every critical section: it checks the invariants, and then, with
// the lock dropped, does what may not be done under it.
func (r *Reserve) unlock() {
	r.check()
	call := r.notify.first != nil && !r.calling
	if call {
		r.calling = true
	}
	work := !r.working && r.hasWork()
	wake := work && r.sealed && !r.closed
	if wake {
		select {
		case r.wake <- struct{}{}:
		default: // the grower has been told
		}
	}
	r.mu.Unlock()
	if call {
		r.callWaiters()
	}
	if work && !wake {
		r.work()
	}
}

// check is I1, I2 and the argument of doc.go, in constant time at every step.
func (r *Reserve) check() {
	freeNow := r.freeNormal() + r.freeReserve.n
	switch total := r.cfg.Reserve + r.slabs.mapped; {
	case freeNow+r.stocked+r.granted != total:
		panic(fmt.Sprintf("reserve: conservation broken: %d free + %d stocked + %d granted is not %d",
			freeNow, r.stocked, r.granted, total))
	case r.granted < 0 || r.surplus() < 0 || r.missing() < 0:
		panic(fmt.Sprintf("reserve: stock broken: %d granted, %d stocked, guaranteed %d, at most %d",
			r.granted, r.stocked, r.guaranteed, r.want))
	case r.slabs.mapped < r.surplus():
		panic(fmt.Sprintf("reserve: stocks hold %d buffers above their guarantee, normal memory backs only %d",
			r.surplus(), r.slabs.mapped))
	}
}
