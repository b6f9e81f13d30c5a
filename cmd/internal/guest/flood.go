package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"aoe/cmd/internal/lab"
	"aoe/frame"
)

// floodBytes is the length of each frame of a flood, as in the one that kills.
const floodBytes = 1000

// A flood sends broadcast frames of a foreign EtherType until it is stopped.
type flood struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup // the sender
	sent   atomic.Uint64
	err    error // of the sender, once wg is done
}

// stranger is who sends them.
var stranger = frame.MAC{0x02, 0xbd, 0, 0, 0, 0x66}

// Flood sends rate frames a second to everybody, until the guest ends. A
// negative rate is as fast as it goes.
func (c *Control) Flood(rate int) error {
	l, err := c.net.open(floodHost)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &flood{cancel: cancel}
	f.wg.Go(func() { // ends with endFloods
		f.err = errors.Join(f.run(ctx, rate, l.Send), l.Close())
	})
	c.floods = append(c.floods, f)
	return nil
}

// Flooded is the number of frames that floods have sent.
func (c *Control) Flooded() (n uint64) {
	for _, f := range c.floods {
		n += f.sent.Load()
	}
	return n
}

func (c *Control) endFloods() error {
	var errs []error
	for _, f := range c.floods {
		f.cancel()
		f.wg.Wait()
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// floodTick is how often a batch is sent: short enough that a batch is no
// burst that fills a receive ring by itself.
const floodTick = 2 * time.Millisecond

// maxBatch is how many are sent at a time when it goes as fast as it can.
const maxBatch = 64

func (f *flood) run(ctx context.Context, rate int, send func([][]byte) (int, error)) error {
	rng := rand.New(rand.NewPCG(1, 2))
	batch := make([][]byte, max(maxBatch, 4*rate/500))
	for i := range batch {
		batch[i] = foreignFrame(rng)
	}
	tick := time.NewTicker(floodTick)
	defer tick.Stop()
	for began := time.Now(); ctx.Err() == nil; {
		n := maxBatch
		if rate >= 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			// What a late tick owes is sent at the next ones, a little at a time.
			n = min(int(time.Since(began).Seconds()*float64(rate)-float64(f.sent.Load())), len(batch))
		}
		if n <= 0 {
			continue
		}
		sent, err := send(batch[:n])
		f.sent.Add(uint64(sent))
		if err != nil {
			return fmt.Errorf("guest: flood: %w", err)
		}
	}
	return nil
}

// foreignFrame is noise to everybody.
func foreignFrame(rng *rand.Rand) []byte {
	b := append([]byte(nil), frame.Broadcast[:]...)
	b = append(b, stranger[:]...)
	b = binary.BigEndian.AppendUint16(b, lab.ForeignEtherType)
	for len(b) < floodBytes {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}
