package reserve

import (
	"math/rand/v2"
	"sync/atomic"
)

// Faults makes normal allocation fail, at a rate that can be changed while it
// runs: Config.FailNormal: faults.Fail. The same seed fails the same calls.
type Faults struct {
	rate atomic.Int64
	rng  *rand.Rand
}

// NewFaults starts at rate perMille: 0 never fails, 1000 always.
func NewFaults(seed uint64, perMille int) *Faults {
	f := &Faults{rng: rand.New(rand.NewPCG(seed, seed))}
	f.SetRate(perMille)
	return f
}

// SetRate may be called at any time, by any goroutine.
func (f *Faults) SetRate(perMille int) { f.rate.Store(int64(perMille)) }

// Fail decides about one allocation. A Reserve calls it under its lock; apart
// from that only one goroutine may.
func (f *Faults) Fail() bool { return f.rng.Int64N(1000) < f.rate.Load() }
