package machine

import (
	"math"
	"math/rand/v2"
	"time"
)

// Below is what the kernel does with frames below the initiator.
type Below uint8

// The kinds.
const (
	// OwnQueue receives our frames into our own memory and sends from there:
	// AF_XDP (T3).
	OwnQueue Below = iota
	// Guarded receives into pages of the card, drops foreign frames before they
	// cost a page when memory is short, and takes a page to send (T2).
	Guarded
	// Unguarded is the same without the drop (T1): the canary.
	Unguarded
)

// String is the tier.
func (b Below) String() string { return [...]string{"T3", "T2", "T1"}[b] }

// Options are everything that a run draws from its seed.
type Options struct {
	Below     Below
	Pages     int // of memory, without the card's
	Watermark int // of these, not for applications
	Card      int // pages of the card's receive ring
	Sockets   int // pages that unread sockets take at most
	Blocks    int // of the disk
	Frames    int // for each block: its sectors are divided among them

	Requests   int // grants
	AtOnce     int // requests that the reserve alone can carry
	Stock      int // receive buffers guaranteed
	Want       int // receive buffers wished for
	Normal     int // buffers of ordinary memory at most
	FaultMille int // of ordinary allocations that fail, per mille

	Buffers   int           // the target's buffer count
	Loss      float64       // of frames in each direction
	Twice     float64       // of answers that come twice
	Slow      float64       // of frames that take up to frameLife
	Delay     time.Duration // of the others, at most
	Poll      time.Duration // between two turns of the initiator
	Flood     float64       // foreign frames a second
	Forged    float64       // frames a second that look like ours
	DirtyRate float64       // pages a second that applications write to
	ReadRate  float64       // pages a second that are read from the disk

	// Of several disks; each has requests and buffers as said above.
	Disks    int
	Pool     Pool
	Fate     Fate          // of the first disk's target
	FateAt   time.Duration // from when on
	Lateness time.Duration // at most, if it is late
}

// A Pool is how the reserve is divided among the disks.
type Pool uint8

// The pools.
const (
	// Own: each disk has a reserve. That is what package initiator does.
	Own Pool = iota
	// Shares: one for all, of which a disk has no more than an equal part, and no
	// normal memory beside it.
	Shares
	// Together: one for all, for whoever comes first: a canary.
	Together
	// Borrowing: as Shares, but with normal memory, which has no shares. A budget
	// that is used up is no crunch (docs/RESERVE.md), so that claims wait for what a
	// dead disk never gives back, beside a reserve that is whole: a canary.
	Borrowing
)

// String names the pool.
func (p Pool) String() string {
	return [...]string{"a reserve each", "shares", "first come", "shares, and normal memory"}[p]
}

// A Fate is what becomes of a target.
type Fate uint8

// The fates.
const (
	Well Fate = iota
	Late      // it answers when it likes
	Away      // it is silent, until the network is well again
	Dead      // it is silent for ever
)

// frameLife is the longest that a frame is under way.
const frameLife = 10 * time.Millisecond

// lineRate is frames a second of a full wire, of the smallest size at 1 Gbit/s.
const lineRate = 1_488_095

// Draw is the options of a seed.
func Draw(rng *rand.Rand, below Below) Options {
	o := Options{
		Below: below, Disks: 1, Pages: 4 + rng.IntN(29), Card: 1 + rng.IntN(8), Blocks: 8 + rng.IntN(57), Frames: []int{1, 4}[rng.IntN(2)],
		Requests: 1 + rng.IntN(8), Stock: 1 + rng.IntN(8), Buffers: 1 + rng.IntN(16),
		Delay: time.Duration(20+rng.IntN(400)) * time.Microsecond,
		Poll:  time.Duration(10+rng.IntN(200)) * time.Microsecond,
	}
	o.AtOnce = 1 + rng.IntN(o.Requests)
	o.Want = o.Stock + rng.IntN(16)
	if rng.IntN(2) == 0 { // swarm: some runs have none of a thing at all
		o.Normal, o.FaultMille = rng.IntN(64), []int{0, 10, 300, 1000}[rng.IntN(4)]
	}
	maybe := func(most float64) float64 {
		if rng.IntN(3) == 0 {
			return 0
		}
		return rng.Float64() * most
	}
	o.Loss, o.Twice, o.Slow = maybe(0.3), maybe(0.2), maybe(0.1)
	o.Flood = maybe(1) * lineRate * math.Pow(10, 2*rng.Float64()) // up to 100 times the wire
	o.Forged = maybe(5000)
	o.DirtyRate, o.ReadRate = math.Pow(10, 3+2*rng.Float64()), maybe(2000)
	o.Sockets = o.Pages + o.Card // there can always be more sockets
	if rng.IntN(2) == 0 {
		o.Sockets = 1 + rng.IntN(o.Pages)
	}
	if below != OwnQueue {
		o.Watermark = min(2+rng.IntN(3), o.Pages-1)
	}
	return o
}

// drawSeveral gives the machine more disks, which all have what the one had. The
// pool is one of those that must hold, unless it is given.
func (o *Options) drawSeveral(rng *rand.Rand, pool *Pool) {
	o.Disks = 2 + rng.IntN(3)
	o.Pool = Pool(rng.IntN(2))
	if pool != nil {
		o.Pool = *pool
	}
	if o.Pool == Shares {
		o.Normal = 0
	}
	o.Fate = Fate(rng.IntN(4))
	o.FateAt = time.Duration(rng.Int64N(int64(safety)))
	o.Lateness = time.Duration(1 + rng.Int64N(int64(frameLife)))
}
