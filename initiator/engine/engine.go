package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"aoe/frame"
)

// Never is the deadline of an engine that waits for nothing.
const Never = time.Duration(math.MaxInt64)

// A Config is what an engine is made from. Durations that are zero have the
// default given; negative ones are refused unless it says what they mean.
type Config struct {
	Addr     frame.Addr // of the disk; no wildcard
	Local    frame.MAC  // of our port
	Remote   frame.MAC  // of the target's port
	Buffers  int        // the target's buffer count; less than one counts as one
	Identity Identity   // pinned: a target that shows another one is not used

	Slots  int // frames in flight and fenced writes, a power of two; 0: 4096
	Window int // most frames in flight; 0: 256

	RTOFirst time.Duration // retransmission timeout before the first measurement; 0: 100 ms
	RTOMin   time.Duration // least retransmission timeout; 0: 2 ms
	RTOMax   time.Duration // most; 0: 1 s

	// FlushRTO is the least retransmission timeout of a flush, which may take
	// a disk seconds (H6); before the first measurement it is four times
	// that, and it backs off to at most 30 s. 0: 500 ms.
	FlushRTO time.Duration

	// Silence is how long the target may leave everything unanswered before
	// data is held back until it has shown its identity again (H15). 0: 1 s.
	Silence time.Duration

	// DeadTime is how long a frame is tried for. A target silent for so long
	// is down: all requests fail, until it answers again. 0: 180 s; negative:
	// for ever.
	DeadTime time.Duration

	// FrameLife is the longest time that a frame sent can stay alive on its
	// way before it reaches the target (H1). IEEE 802.1D recommends that
	// bridges discard a frame after 1 s. 0: 1 s.
	FrameLife time.Duration

	// Overtake is the longest time by which a frame can arrive after another
	// that was sent later. Ethernet keeps the order of the frames from one
	// station to another: IEEE 802.1Q permits "a negligible rate" of
	// reordering, and what balances by frame instead of by address reorders
	// by micro- or milliseconds. So when a frame is answered that was sent
	// after a copy of a write, that copy is lost, or arrives within Overtake,
	// and the fence need not stand for FrameLife. 0: 20 ms; negative: frames
	// may overtake each other at will.
	Overtake time.Duration

	// Probe is how often an undisturbed target is asked for its configuration:
	// that finds it dead while nothing is read or written, and measures the
	// network without the disk. 0: 10 s; negative: never.
	Probe time.Duration

	Rand rand.Source // first generations of the tags (H22); required
}

func (c Config) withDefaults() (Config, error) {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.RTOFirst, 100*time.Millisecond)
	def(&c.RTOMin, 2*time.Millisecond)
	def(&c.RTOMax, time.Second)
	def(&c.FlushRTO, 500*time.Millisecond)
	def(&c.Silence, time.Second)
	def(&c.DeadTime, 180*time.Second)
	def(&c.FrameLife, time.Second)
	def(&c.Overtake, 20*time.Millisecond)
	def(&c.Probe, 10*time.Second)
	if c.Slots == 0 {
		c.Slots = 4096
	}
	if c.Window == 0 {
		c.Window = 256
	}
	for _, v := range []time.Duration{c.RTOFirst, c.RTOMin, c.RTOMax, c.FlushRTO, c.Silence, c.FrameLife} {
		if v < 0 {
			return c, fmt.Errorf("engine: %v is negative: only DeadTime, Overtake and Probe may be", v)
		}
	}
	switch {
	case c.RTOMin > c.RTOMax:
		return c, fmt.Errorf("engine: RTOMin %v above RTOMax %v", c.RTOMin, c.RTOMax)
	case c.Slots < 8 || c.Slots > 1<<16 || c.Slots&(c.Slots-1) != 0:
		return c, fmt.Errorf("engine: %d slots: want a power of two from 8 to 65536", c.Slots)
	case c.Window < 1 || c.Window > c.Slots/2:
		return c, fmt.Errorf("engine: window of %d frames: want 1 to %d, half of the slots", c.Window, c.Slots/2)
	case c.Addr.IsWildcard():
		return c, fmt.Errorf("engine: %v is not the address of one disk", c.Addr)
	case c.Remote.IsMulticast():
		return c, fmt.Errorf("engine: %v is not the address of one station", c.Remote)
	case c.Rand == nil:
		return c, fmt.Errorf("engine: Config.Rand is required")
	}
	return c, nil
}

// An Engine is the protocol state of one disk. It is used by one goroutine.
type Engine struct {
	cfg    Config
	table  table
	path   path // one for now; what belongs to a path is in it, what belongs to the target is not
	window window

	flight   slotList // in order of their last transmission
	lost     slotList // in order of their timeout
	inFlight int      // length of flight
	yield    bool     // a new frame goes before one that was lost, see next

	all      requestList // every unfinished request, in order of submission
	ready    requestList
	held     requestList // by the fence
	finished requestList

	fence   fence
	control control
	wakeAt  time.Duration // no timer is due before
	trouble [troubles]trouble
	refusal Outcome // with Refusing

	sectors    uint64 // of the disk, as last told by it
	maxSectors int    // in one frame, as last told by the target
	counters   Counters
}

// New makes an engine.
func New(cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:     cfg,
		table:   newTable(cfg.Slots, cfg.Rand),
		path:    newPath(cfg.Local, cfg.Remote),
		window:  newWindow(max(cfg.Buffers, 1), cfg.Window),
		fence:   newFence(cfg.Slots),
		wakeAt:  Never,
		sectors: cfg.Identity.Sectors,
	}
	e.ready.byQueue, e.held.byQueue, e.finished.byQueue = true, true, true
	e.control = newControl(cfg.Addr)
	return e, nil
}

// Start begins probing. Before it, an engine sends nothing of its own.
func (e *Engine) Start(now time.Duration) { e.idleControl(now) }

// Submit takes r in. Its result comes from Completed, perhaps at once.
func (e *Engine) Submit(now time.Duration, r *Request) {
	if len(r.Frames) == 0 {
		panic("engine: request without frames")
	}
	if r.place != nowhere {
		panic("engine: request submitted twice")
	}
	r.reset()
	e.all.push(r)
	e.counters.Requests++
	r.number = e.counters.Requests
	if e.down() {
		e.finish(now, r, e.refused(r))
		return
	}
	e.order(r)
}

// Cancel ends r early, unless it is completed already. Frames of it that were
// sent may still be executed; the fence keeps what follows from being undone.
func (e *Engine) Cancel(now time.Duration, r *Request) {
	if r.place != nowhere && r.place != isFinished {
		e.finish(now, r, Outcome{Result: Canceled, LBA: r.LBA})
	}
}

// FailAll ends all requests.
func (e *Engine) FailAll(now time.Duration, result Result) {
	e.failAll(now, Outcome{Result: result})
}

func (e *Engine) failAll(now time.Duration, o Outcome) {
	for r := e.all.head; r != nil; r = e.all.head {
		o.LBA = r.LBA
		e.finish(now, r, o)
	}
}

// Completed returns a request that has ended, in the order in which they did,
// or nil.
func (e *Engine) Completed() *Request {
	r := e.finished.head
	if r != nil {
		e.finished.remove(r)
		r.place = nowhere
	}
	return r
}

// finish takes r out of everything and hands it to Completed.
func (e *Engine) finish(now time.Duration, r *Request, o Outcome) {
	for i := range r.Frames {
		if slot := r.Frames[i].slot; slot != 0 {
			r.Frames[i].slot = 0
			e.retire(now, slot)
		}
	}
	switch r.place {
	case ready:
		e.ready.remove(r)
	case fencedOff:
		e.held.remove(r)
	}
	r.outcome = o
	if o.Result != OK {
		e.counters.Failed++
	}
	r.place = isFinished
	e.all.remove(r)
	e.finished.push(r)
	if r.following {
		e.unblock(r)
	}
}

// retire ends the life of a data slot: it is free, unless copies of a write
// may be alive, which leave a fence.
func (e *Engine) retire(now time.Duration, i int32) {
	s := &e.table.slots[i]
	switch s.state {
	case slotFlight:
		e.table.remove(&e.flight, i)
		e.inFlight--
	case slotLost:
		e.table.remove(&e.lost, i)
	default:
		panic("engine: retired slot is neither in flight nor lost")
	}
	s.req = nil
	e.path.waiting = e.path.waiting && e.outstanding()
	if s.kind.modifies() && !s.allAnswered() && s.lastUnanswered()+e.cfg.FrameLife > now {
		e.putUpFence(now, i)
		return
	}
	e.table.release(i)
}

// outstanding reports whether an answer is waited for.
func (e *Engine) outstanding() bool {
	return e.inFlight > 0 || e.lost.head != 0 || e.control.slot != 0
}

// Sectors is the size of the disk as it last told it itself (H16).
func (e *Engine) Sectors() uint64 { return e.sectors }

// MaxSectors is the most sectors in a frame as the target last told it, or 0.
func (e *Engine) MaxSectors() int { return e.maxSectors }

// LimitWindow bounds the frames in flight while memory is short; 0: no bound.
func (e *Engine) LimitWindow(frames int) { e.window.memoryMax = frames }

// arm makes sure that Advance looks at the timers at t.
func (e *Engine) arm(t time.Duration) { e.wakeAt = min(e.wakeAt, t) }
