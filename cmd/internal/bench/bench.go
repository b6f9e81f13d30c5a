package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"aoe/initiator"
)

// A Config says what to do to a disk.
type Config struct {
	Disk    *initiator.Disk // in use by nobody else while it is measured
	Pattern Pattern         // empty means RandRead
	// BlockSize of a request in bytes, a multiple of 512 up to
	// Disk.MaxRequest. Zero means 4096; negative is refused.
	BlockSize int
	// Depth is how many requests are in flight, at most Disk.Depth. Zero
	// means 32; negative is refused.
	Depth int
	// Duration of the run. Zero means 5 s; negative is refused.
	Duration time.Duration
	// Requests ends the run earlier. Zero or negative means that it does not.
	Requests uint64
	// Span in bytes from the start of the disk that is used. Zero or negative,
	// and what is larger than the disk, means all of it.
	Span int64
	// Seed of the offsets and of the data. Zero is a seed like any other.
	Seed uint64
}

func (c Config) withDefaults() (Config, error) {
	if c.Disk == nil {
		return c, errors.New("bench: no disk given")
	}
	if c.Pattern == "" {
		c.Pattern = RandRead
	}
	if c.BlockSize == 0 {
		c.BlockSize = 4096
	}
	if c.Depth == 0 {
		c.Depth = 32
	}
	if c.Duration == 0 {
		c.Duration = 5 * time.Second
	}
	if c.Span <= 0 || c.Span > c.Disk.Size() {
		c.Span = c.Disk.Size()
	}
	switch {
	case c.BlockSize < 0 || c.BlockSize%512 != 0 || c.BlockSize > c.Disk.MaxRequest():
		return c, fmt.Errorf("bench: block size %d: want a multiple of 512 up to %d", c.BlockSize, c.Disk.MaxRequest())
	case c.Depth < 0 || c.Depth > c.Disk.Depth():
		return c, fmt.Errorf("bench: depth %d: want 1 to %d", c.Depth, c.Disk.Depth())
	case c.Duration < 0:
		return c, fmt.Errorf("bench: a run of %v", c.Duration)
	case c.Span < int64(c.BlockSize):
		return c, fmt.Errorf("bench: not one block of %d bytes fits into %d", c.BlockSize, c.Span)
	}
	return c, nil
}

// Run measures. When ctx ends, so does the run, and the result is what was
// measured until then.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Result{}, err
	}
	r := newRun(cfg)
	stop := context.AfterFunc(ctx, func() { r.halt(nil) })
	defer stop()
	before, cpu, began := cfg.Disk.Stats(), cpuTime(), time.Now()
	r.deadline = began.Add(cfg.Duration)
	r.start(ctx)
	r.idle.Wait()
	took, used, after := time.Since(began), cpuTime()-cpu, cfg.Disk.Stats()

	n := r.latency.Count()
	res := Result{
		Addr: after.Addr, Pattern: cfg.Pattern, BlockSize: cfg.BlockSize, Depth: cfg.Depth, Seed: cfg.Seed,
		Requests: n, Errors: r.errors, Took: took, Latency: latencyOf(&r.latency),
		IOPS:            float64(n) / took.Seconds(),
		MBps:            float64(n) * float64(cfg.BlockSize) / took.Seconds() / 1e6,
		Retransmissions: after.Retransmitted - before.Retransmitted,
		FreedAtOnce:     after.Drops.Sum() - before.Drops.Sum(),
		Waited:          r.waited,
	}
	if n > 0 {
		res.CPU = used / time.Duration(n)
	}
	return res, r.failure
}

// A run is the state between the first request and the last. Everything below
// mu is shared by the disk's loop, which calls done, and the goroutine that
// admits what the loop could not.
type run struct {
	cfg      Config
	op       initiator.Op // but for the offset
	blocks   uint64
	data     []byte // what is written
	deadline time.Time
	done     func(*initiator.Request) // made once: a method value allocates
	starved  chan int                 // slots whose next request found no buffers
	idle     sync.WaitGroup           // slots that have a request, or wait for one

	mu      sync.Mutex
	rng     rand.PCG
	next    uint64 // block, when sequential
	issued  uint64
	began   []time.Time // by slot
	latency Histogram
	errors  uint64
	waited  uint64
	failure error
	halted  bool
}

func newRun(cfg Config) *run {
	r := &run{
		cfg:     cfg,
		op:      initiator.Op{Kind: initiator.Read, Length: cfg.BlockSize},
		blocks:  uint64(cfg.Span) / uint64(cfg.BlockSize),
		starved: make(chan int, cfg.Depth),
		rng:     *rand.NewPCG(cfg.Seed, cfg.Seed),
		began:   make([]time.Time, cfg.Depth),
	}
	r.done = r.ended
	if cfg.Pattern.Writes() {
		r.op.Kind = initiator.Write
		r.data = make([]byte, cfg.BlockSize)
		rand.NewChaCha8([32]byte{byte(cfg.Seed), byte(cfg.Seed >> 8)}).Read(r.data)
	}
	return r
}

// start submits the first Depth requests, and goes on to admit for slots that
// starve until none is left.
func (r *run) start(ctx context.Context) {
	r.idle.Add(r.cfg.Depth)
	for slot := range r.cfg.Depth {
		r.starved <- slot
	}
	go func() { // ends when all slots are idle
		for slot := range r.starved {
			r.admit(ctx, slot)
		}
	}()
	go func() { // ends with the last slot
		r.idle.Wait()
		close(r.starved)
	}()
}

// admit waits for the buffers that slot's next request needs, and submits it.
// The goroutine that calls it holds no request (I3).
func (r *run) admit(ctx context.Context, slot int) {
	op, ok := r.nextOp()
	if !ok {
		r.idle.Done()
		return
	}
	req, err := r.cfg.Disk.Admit(ctx, op)
	if err != nil {
		if ctx.Err() == nil {
			r.halt(fmt.Errorf("bench: %w", err))
		}
		r.idle.Done()
		return
	}
	r.submit(slot, req)
}

// nextOp is the next operation, false when the run is over.
func (r *run) nextOp() (initiator.Op, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted || r.cfg.Requests > 0 && r.issued >= r.cfg.Requests || !time.Now().Before(r.deadline) {
		return initiator.Op{}, false
	}
	r.issued++
	block := r.next % r.blocks
	r.next++
	if r.cfg.Pattern.Random() {
		block = r.rng.Uint64() % r.blocks
	}
	op := r.op
	op.Offset = int64(block) * int64(r.cfg.BlockSize)
	return op, true
}

func (r *run) submit(slot int, req *initiator.Request) {
	if r.data != nil {
		at := 0
		for _, s := range req.Segments() {
			at += copy(s, r.data[at:])
		}
	}
	req.Cookie = uint64(slot)
	now := time.Now()
	r.mu.Lock()
	r.began[slot] = now
	r.mu.Unlock()
	req.Submit(r.done)
}

// ended is the callback: it runs on the disk's loop.
func (r *run) ended(req *initiator.Request) {
	slot, err := int(req.Cookie), req.Err()
	now := time.Now()
	r.mu.Lock()
	if err != nil {
		r.errors++
		if r.failure == nil {
			r.failure = fmt.Errorf("bench: %w", err)
		}
		r.halted = true
	} else {
		r.latency.Record(now.Sub(r.began[slot]))
	}
	r.mu.Unlock()
	req.Release()

	op, ok := r.nextOp()
	if !ok {
		r.idle.Done()
		return
	}
	next, ok := r.cfg.Disk.TryAdmit(op)
	if !ok {
		r.mu.Lock()
		r.waited++
		r.issued--
		r.mu.Unlock()
		r.starved <- slot // has room for every slot
		return
	}
	r.submit(slot, next)
}

// halt ends the run with the requests that are in flight.
func (r *run) halt(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.halted = true
	if r.failure == nil {
		r.failure = err
	}
}
