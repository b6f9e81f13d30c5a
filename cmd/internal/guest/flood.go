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

	"github.com/mdlayher/aoe"

	"aoe/cmd/internal/lab"
	"aoe/frame"
)

// floodBytes is the length of each frame of a flood, as in the one that kills.
const floodBytes = 1000

// A flood sends frames that nobody has asked for until it is stopped.
type flood struct {
	make   func(*rand.Rand) []byte
	renew  func(*rand.Rand, []byte) // before a frame is sent again; nil: as it is
	forged bool
	cancel context.CancelFunc
	wg     sync.WaitGroup // the sender
	sent   atomic.Uint64
	err    error // of the sender, once wg is done
}

// stranger is who sends them.
var stranger = frame.MAC{0x02, 0xbd, 0, 0, 0, 0x66}

// Flood sends rate foreign frames a second to everybody, until the guest ends. A
// negative rate is as fast as it goes.
func (c *Control) Flood(rate int) error {
	return c.begin(floodHost, rate, &flood{make: foreignFrame})
}

// Forge sends rate frames a second to the guest that look like answers of e1.1,
// but for their tags, which are random. They come from the target's own port: a
// switch that saw its address elsewhere would send the guest's requests there.
func (c *Control) Forge(rate int) error {
	from := c.net.Hosts[targetHost].MAC
	return c.begin(targetHost, rate, &flood{
		make: func(rng *rand.Rand) []byte { return forgedAnswer(rng, from) }, renew: randomTag, forged: true,
	})
}

func (c *Control) begin(host, rate int, f *flood) error {
	l, err := c.net.open(host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.wg.Go(func() { // ends with endFloods
		f.err = errors.Join(f.run(ctx, rate, l.Send), l.Close())
	})
	c.floods = append(c.floods, f)
	return nil
}

// Flooded is the number of foreign frames that were sent.
func (c *Control) Flooded() uint64 { return c.sent(false) }

// Forged is the number of forged answers that were sent.
func (c *Control) Forged() uint64 { return c.sent(true) }

func (c *Control) sent(forged bool) (n uint64) {
	for _, f := range c.floods {
		if f.forged == forged {
			n += f.sent.Load()
		}
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
		batch[i] = f.make(rng)
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
		if f.renew != nil {
			for _, b := range batch[:n] {
				f.renew(rng, b)
			}
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

// forgedAnswer looks like the answer to a read of two sectors, or to a write.
func forgedAnswer(rng *rand.Rand, from frame.MAC) []byte {
	a := frame.ATA{AFlags: frame.AFlagExtended, Op: frame.Opcode(frame.StatusDRDY)}
	h := frame.Header{Dst: guestMAC(0), Src: from, Version: frame.Version, Flags: frame.FlagResponse, Addr: diskAddr(0), Command: aoe.CommandIssueATACommand}
	b := a.Append(h.Append(nil))
	if rng.Uint32()&1 == 0 {
		for range 2 * frame.SectorSize {
			b = append(b, byte(rng.Uint32()))
		}
	}
	randomTag(rng, b)
	return frame.Pad(b)
}

// randomTag gives a frame another tag.
func randomTag(rng *rand.Rand, b []byte) {
	binary.BigEndian.PutUint32(b[frame.TagOffset:], rng.Uint32())
}
