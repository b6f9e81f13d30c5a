package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"aoe/frame/link"
)

// A floodConfig says what to send and how fast. It is bounded in rate and
// number, because the point is what is done with the frames and not how many
// a machine can make.
type floodConfig struct {
	link   link.Link
	kinds  []forgery
	forger forger
	rate   int // frames per second; not zero
	most   int // frames in all; not zero
}

// A flood sends until it is stopped or has sent what it may.
type flood struct {
	cfg    floodConfig
	cancel context.CancelFunc
	wg     sync.WaitGroup // the sender

	mu   sync.Mutex
	sent []uint64 // of each kind
	err  error
}

// floodTick is how often a batch is sent: short enough that a batch is no
// burst that fills a receive ring by itself.
const floodTick = 2 * time.Millisecond

func startFlood(ctx context.Context, cfg floodConfig) *flood {
	ctx, cancel := context.WithCancel(ctx)
	f := &flood{cfg: cfg, cancel: cancel, sent: make([]uint64, len(cfg.kinds))}
	f.wg.Go(func() { // ends with stop, or when enough is sent
		if err := f.run(ctx); err != nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
		}
	})
	return f
}

func (f *flood) run(ctx context.Context) error {
	tick := time.NewTicker(floodTick)
	defer tick.Stop()
	began := time.Now()
	var batch [][]byte
	for total := 0; total < f.cfg.most; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// What a late tick owes is sent at the next ones, a little at a time.
		due := int(time.Since(began).Seconds() * float64(f.cfg.rate))
		n := min(due-total, f.cfg.most-total, 4*max(1, f.cfg.rate/500))
		for len(batch) < n {
			batch = append(batch, make([]byte, 0, 9100))
		}
		f.mu.Lock()
		for i := range max(n, 0) {
			k := choose(f.cfg.forger.rng, f.cfg.kinds)
			batch[i] = f.cfg.kinds[k].make(&f.cfg.forger, batch[i][:0])
			f.sent[k]++
		}
		f.mu.Unlock()
		if n > 0 {
			if _, err := f.cfg.link.Send(batch[:n]); err != nil {
				return fmt.Errorf("lab: flood: %w", err)
			}
			total += n
		}
	}
	return nil
}

// stop ends the flood and returns what it sent, by kind.
func (f *flood) stop() (map[string]uint64, error) {
	f.cancel()
	f.wg.Wait()
	sent := map[string]uint64{}
	for i, k := range f.cfg.kinds {
		sent[k.name] += f.sent[i]
	}
	return sent, f.err
}

// newRand is the random source of one part of a run: each part has its own
// stream of the one seed, so that parts do not disturb each other's replay.
func newRand(seed uint64, part string) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(part) {
		h = (h ^ uint64(part[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}
