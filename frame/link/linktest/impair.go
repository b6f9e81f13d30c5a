package linktest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"aoe/frame/link"
)

// An Impairment is what Impair does to the frames of a link.
type Impairment struct {
	// Seed of all random choices: one generator for each direction. Zero is a
	// seed like any other. On a real link a seed does not replay a run, but two
	// runs with one seed lose about the same.
	Seed uint64
	// Send and Receive are the faults of the two directions.
	Send, Receive Faults
	// Held is the most frames that wait in each direction because of Reorder,
	// Duplicate or Delay; more are lost. Zero means 256.
	Held int
}

const defaultHeld = 256

// An Impaired is a Link that loses, duplicates and reorders the frames of
// another.
//
// Frames held back on their way out are sent by the goroutine in Recv when they
// are due, or by the next Send: as long as one goroutine receives, as it should,
// they are in time.
type Impaired struct {
	link.Link
	start time.Time
	woken atomic.Bool // Wake was called: not every early return is one

	closed atomic.Bool

	sendMu sync.Mutex // guards out
	out    direction
	in     direction // belongs to Recv
}

// A direction is one of the two of an impaired link.
type direction struct {
	rng    *rand.Rand
	faults Faults
	held   flight
	most   int
	// lost counts frames lost on purpose, or for want of room.
	lost, twice atomic.Uint64
	one         [1][]byte // a batch of one frame
}

// Impair wraps l, which from then on belongs to the wrapper. It panics when cfg
// makes no sense.
func Impair(l link.Link, cfg Impairment) *Impaired {
	cfg.Send.check()
	cfg.Receive.check()
	if cfg.Held == 0 {
		cfg.Held = defaultHeld
	}
	if cfg.Held < 0 {
		panic(fmt.Sprintf("linktest: %d frames cannot be held", cfg.Held))
	}
	i := &Impaired{Link: l, start: time.Now()}
	i.out.init(cfg.Seed, cfg.Send, cfg.Held)
	i.in.init(cfg.Seed+1, cfg.Receive, cfg.Held)
	return i
}

func (d *direction) init(seed uint64, f Faults, most int) {
	d.rng, d.faults, d.most = newRand(seed), f, most
}

// An ImpairedStats counts the frames that were impaired, in each direction.
type ImpairedStats struct {
	SendLost, SendTwice       uint64
	ReceiveLost, ReceiveTwice uint64
}

// Impaired is what has been done to the frames. The Stats of the link below
// tell what it has sent and received.
func (i *Impaired) Impaired() ImpairedStats {
	return ImpairedStats{i.out.lost.Load(), i.out.twice.Load(), i.in.lost.Load(), i.in.twice.Load()}
}

func (i *Impaired) now() time.Duration { return time.Since(i.start) }

// fate draws what happens to the frame f. What is to come later is held; now
// tells whether f itself is due at once.
func (d *direction) fate(now time.Duration, f []byte) (atOnce bool) {
	fate := d.faults.draw(d.rng)
	if fate.Lost {
		d.lost.Add(1)
		return false
	}
	if fate.Twice {
		d.twice.Add(1)
		d.hold(now+fate.SecondDelay, f)
	}
	if fate.Delay > 0 {
		d.hold(now+fate.Delay, f)
		return false
	}
	return true
}

func (d *direction) hold(due time.Duration, f []byte) {
	if d.held.len() >= d.most {
		d.lost.Add(1)
		return
	}
	d.held.push(due, f, 0)
}

// Send is [link.Link.Send]. It counts what the caller handed over, as an
// interface does that loses frames on the wire.
func (i *Impaired) Send(frames [][]byte) (int, error) {
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	if i.closed.Load() {
		return i.Link.Send(nil) // which says so, whatever the fate of the frames
	}
	now := i.now()
	if err := i.flushLocked(now); err != nil {
		return 0, err
	}
	first, n := i.out.held.next, 0
	before, _ := first()
	for _, f := range frames {
		sent := 1
		if i.out.fate(now, f) {
			var err error
			if sent, err = i.sendOneLocked(f); err != nil {
				return n, err
			}
		}
		n += sent
	}
	if due, ok := first(); ok && (before == 0 || due < before) {
		i.Link.Wake() // Recv has to wait for less long than it thought
	}
	return n, nil
}

func (i *Impaired) sendOneLocked(f []byte) (int, error) {
	i.out.one[0] = f
	n, err := i.Link.Send(i.out.one[:])
	i.out.one[0] = nil
	return n, err
}

// flushLocked sends the held frames that are due.
func (i *Impaired) flushLocked(now time.Duration) error {
	for {
		f, ok := i.out.held.pop(now)
		if !ok {
			return nil
		}
		if _, err := i.sendOneLocked(f); err != nil {
			return err
		}
	}
}

// Close is [link.Link.Close]. Frames that are held are lost.
func (i *Impaired) Close() error {
	i.closed.Store(true)
	return i.Link.Close()
}

// Wake is [link.Link.Wake].
func (i *Impaired) Wake() {
	i.woken.Store(true)
	i.Link.Wake()
}

// Recv is [link.Link.Recv].
func (i *Impaired) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	start := i.now()
	for {
		n, next, err := i.due(bufs)
		if err != nil {
			return 0, err
		}
		wait := timeout
		if n > 0 {
			wait = 0 // look for more, but do not wait for it
		} else if timeout > 0 {
			wait = max(timeout-(i.now()-start), 0)
		}
		if next > 0 && (wait < 0 || wait > next) {
			wait = next
		}
		generation := i.State().Generation
		got, err := i.Link.Recv(bufs[n:], wait)
		if err != nil {
			return 0, err
		}
		n += i.sift(bufs[n : n+got])
		woken := i.woken.Swap(false)
		// While frames come in, and are lost, there may be more.
		over := got == 0 && timeout >= 0 && i.now()-start >= timeout
		if n > 0 || woken || over || len(bufs) == 0 || i.State().Generation != generation {
			return n, nil
		}
	}
}

// due sends and delivers the held frames that are due, and tells how long it is
// until the next is; zero if none is held.
func (i *Impaired) due(bufs [][]byte) (n int, next time.Duration, err error) {
	now := i.now()
	for n < len(bufs) {
		f, ok := i.in.held.pop(now)
		if !ok {
			break
		}
		if len(f) > cap(bufs[n]) {
			i.in.lost.Add(1)
			continue
		}
		bufs[n] = bufs[n][:copy(bufs[n][:len(f)], f)]
		n++
	}
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	if err := i.flushLocked(now); err != nil {
		return 0, 0, err
	}
	for _, d := range [2]*direction{&i.in, &i.out} {
		if due, ok := d.held.next(); ok && (next == 0 || due-now < next) {
			next = max(due-now, 1)
		}
	}
	return n, next, nil
}

// sift decides about frames that have just been received and closes the gaps
// that the lost ones leave. The buffers stay where they are, their contents move:
// the caller knows them by their places.
func (i *Impaired) sift(bufs [][]byte) int {
	now, n := i.now(), 0
	for _, f := range bufs {
		if !i.in.fate(now, f) {
			continue
		}
		if len(f) > cap(bufs[n]) {
			i.in.lost.Add(1)
			continue
		}
		bufs[n] = bufs[n][:copy(bufs[n][:len(f)], f)]
		n++
	}
	// What was received and lost again leaves no trace: owners of buffers tell
	// by their length whether anything was received into them.
	for i := n; i < len(bufs); i++ {
		bufs[i] = bufs[i][:cap(bufs[i])]
	}
	return n
}
