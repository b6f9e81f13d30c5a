package storetest

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"aoe/target/store"
)

// An Op is what was asked of a store.
type Op uint8

// The operations of a store that can be made to fail.
const (
	Read Op = iota
	Write
	Sync
	Trim
	numOps
)

func (o Op) String() string { return [...]string{"read", "write", "sync", "trim"}[o] }

// A Call is one operation on its way into a store.
type Call struct {
	Op  Op
	Off int64 // bytes, zero for Sync
	Len int64 // bytes, zero for Sync
	Now bool  // asked not to wait
}

// ErrInjected is what fails when FaultConfig does not name an error.
var ErrInjected = errors.New("storetest: injected failure")

// FaultConfig says how a Fault fails. The zero value never does.
type FaultConfig struct {
	Seed uint64
	// Fail is the probability, by operation, that a call fails and does
	// nothing. Zero never.
	Fail [numOps]float64
	// Short is the probability that a write fails half-way: some of its
	// sectors are written. Zero never.
	Short float64
	// Prompt is the probability that a call which may not wait is answered;
	// otherwise it gets ErrWouldBlock. Zero always waits, one never.
	Prompt float64
	// Latency, if set, draws how long a call takes before it is carried out.
	Latency func(Call, *rand.Rand) time.Duration
	// Sleep is how time passes for Latency. Nil means time.Sleep, which takes
	// no time in a bubble of testing/synctest.
	Sleep func(time.Duration)
	// Err is the error of a failure; nil means ErrInjected.
	Err error
	// Hook, if set, sees each call before it is carried out, on the caller's
	// goroutine. It may block, which is how a test makes a slow disk, and its
	// error fails the call; ErrWouldBlock too, where Now is set.
	Hook func(Call) error
}

// A Fault is a store in front of another, which it owns, that fails on purpose.
type Fault struct {
	store.Store
	cfg FaultConfig

	mu    sync.Mutex
	rng   *rand.Rand
	calls [numOps]int
}

// NewFault puts faults in front of s.
func NewFault(s store.Store, cfg FaultConfig) *Fault {
	if cfg.Err == nil {
		cfg.Err = ErrInjected
	}
	if cfg.Sleep == nil {
		cfg.Sleep = time.Sleep
	}
	return &Fault{Store: s, cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0))}
}

// Calls is how often op was asked for, ErrWouldBlock not counted.
func (f *Fault) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// chance draws: whether the call fails, and after how many sectors a write does
// (-1 for not).
func (f *Fault) chance(c Call) (short int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Now && f.rng.Float64() >= f.cfg.Prompt {
		return -1, store.ErrWouldBlock
	}
	f.calls[c.Op]++
	if f.rng.Float64() < f.cfg.Fail[c.Op] {
		return -1, f.cfg.Err
	}
	if c.Op == Write && c.Len > 0 && f.rng.Float64() < f.cfg.Short {
		return f.rng.Int64N(c.Len/store.SectorSize+1) * store.SectorSize, f.cfg.Err
	}
	return -1, nil
}

func (f *Fault) before(c Call) (int64, error) {
	if f.cfg.Hook != nil {
		if err := f.cfg.Hook(c); err != nil {
			return -1, err
		}
	}
	if f.cfg.Latency != nil && !c.Now {
		f.mu.Lock()
		d := f.cfg.Latency(c, f.rng)
		f.mu.Unlock()
		f.cfg.Sleep(d)
	}
	return f.chance(c)
}

func (f *Fault) read(p []byte, off int64, now bool) (int, error) {
	if _, err := f.before(Call{Read, off, int64(len(p)), now}); err != nil {
		return 0, err
	}
	return f.Store.ReadAt(p, off)
}

func (f *Fault) write(p []byte, off int64, now bool) (int, error) {
	short, err := f.before(Call{Write, off, int64(len(p)), now})
	if short >= 0 {
		p = p[:min(short, int64(len(p)))]
	} else if err != nil {
		return 0, err
	}
	n, werr := f.Store.WriteAt(p, off)
	if err == nil {
		err = werr
	}
	return n, err
}

// ReadAt implements store.Store.
func (f *Fault) ReadAt(p []byte, off int64) (int, error) { return f.read(p, off, false) }

// WriteAt implements store.Store.
func (f *Fault) WriteAt(p []byte, off int64) (int, error) { return f.write(p, off, false) }

// Sync implements store.Store.
func (f *Fault) Sync() error {
	if _, err := f.before(Call{Op: Sync}); err != nil {
		return err
	}
	return f.Store.Sync()
}

// Trim implements store.Store.
func (f *Fault) Trim(off, n int64) error {
	if _, err := f.before(Call{Op: Trim, Off: off, Len: n}); err != nil {
		return err
	}
	return f.Store.Trim(off, n)
}

// ReadNow implements store.Prompt.
func (f *Fault) ReadNow(p []byte, off int64) error {
	_, err := f.read(p, off, true)
	return err
}

// WriteNow implements store.Prompt.
func (f *Fault) WriteNow(p []byte, off int64) error {
	_, err := f.write(p, off, true)
	return err
}

// SyncNow implements store.Prompt.
func (f *Fault) SyncNow() error {
	if _, err := f.before(Call{Op: Sync, Now: true}); err != nil {
		return err
	}
	return f.Store.Sync()
}

// ReadAllNow implements store.Gatherer: each buffer is a call.
func (f *Fault) ReadAllNow(bufs [][]byte, off int64) error {
	return store.OneByOne(bufs, off, f.ReadNow)
}

// WriteAllNow implements store.Gatherer.
func (f *Fault) WriteAllNow(bufs [][]byte, off int64) error {
	return store.OneByOne(bufs, off, f.WriteNow)
}

// WriteAll implements store.Gatherer.
func (f *Fault) WriteAll(bufs [][]byte, off int64) error {
	return store.OneByOne(bufs, off, func(p []byte, off int64) error {
		_, err := f.WriteAt(p, off)
		return err
	})
}
