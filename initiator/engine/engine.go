package engine

import (
	"math"
	"time"

	"aoe/frame"
)

// Never is the deadline of an engine that waits for nothing.
const Never = time.Duration(math.MaxInt64)

// An Engine is the protocol state of one disk. It is used by one goroutine.
type Engine struct {
	cfg     Config
	table   table
	paths   []path // what belongs to a path is in it, what belongs to the target is not
	window  window
	hearing // over any path

	lost     slotList // in order of being given up
	inFlight int      // frames in the paths' flight
	yield    bool     // a new frame goes before one that was lost, see next

	all      requestList // every unfinished request, in order of submission
	ready    requestList
	held     requestList // by the fence
	finished requestList
	parts    workshop

	fence    fence
	unsynced unsynced
	wakeAt   time.Duration // no timer is due before
	trouble  [troubles]trouble
	refusal  Outcome // with Refusing

	outbox  [MaxPaths][][]byte // by port: frames for it, while another is drained
	remotes []frame.MAC        // see publishPaths

	instance  frame.Instance // of the target in use, see onInstance
	turned    time.Duration  // when it became so
	allGone   bool           // no path of it is left,
	goneSince time.Duration  // since then

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
		table:   newTable(cfg.Slots, cfg.Rand, cfg.Tags),
		paths:   make([]path, len(cfg.Paths)),
		window:  newWindow(max(cfg.Buffers, 1), cfg.Window),
		fence:   newFence(cfg.Slots),
		parts:   newWorkshop(cfg.fullSectors()),
		wakeAt:  Never,
		sectors: cfg.Identity.Sectors, instance: cfg.Identity.Instance, turned: -1,
	}
	e.unsynced.told = cfg.Identity.Verifier != 0
	e.ready.byQueue, e.held.byQueue, e.finished.byQueue = true, true, true
	for i := range e.paths {
		e.paths[i] = newPath(i, cfg)
		e.outbox[cfg.Paths[i].Port] = make([][]byte, 0, cfg.Window+len(cfg.Paths))
	}
	e.remotes = make([]frame.MAC, 0, len(cfg.Paths))
	e.publishPaths()
	return e, nil
}

// Start begins probing. Before it, an engine sends nothing of its own.
func (e *Engine) Start(now time.Duration) {
	for i := range e.paths {
		if p := &e.paths[i]; e.cfg.Paths[i].Proven {
			e.idleControl(now, p)
		} else {
			e.suspend(now, p)
			e.arm(now)
		}
	}
}

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
	if r.Kind == Flush {
		e.unsynced.begin(r)
	}
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
		f := &r.Frames[i]
		if slot := f.slot; slot != 0 {
			f.slot = 0
			e.retire(now, slot)
		}
		e.drop(f)
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
		e.land(i)
	case slotLost:
		e.find(i)
	default:
		panic("engine: retired slot is neither in flight nor lost")
	}
	s.req = nil
	p := &e.paths[s.path]
	p.waiting = p.waiting && p.outstanding()
	e.waiting = e.waiting && e.outstanding()
	if s.kind.modifies() && !s.allAnswered() && s.lastUnanswered()+e.cfg.FrameLife > now {
		e.putUpFence(now, i)
		return
	}
	e.table.release(i)
}

// Idle reports whether there is no unfinished request.
func (e *Engine) Idle() bool { return e.all.head == nil }

// outstanding reports whether an answer is waited for.
func (e *Engine) outstanding() bool {
	if e.inFlight > 0 || e.lost.head != 0 {
		return true
	}
	for i := range e.paths {
		if p := &e.paths[i]; p.control.slot != 0 && !p.standby {
			return true
		}
	}
	return false
}

// land takes slot i out of the frames in flight.
func (e *Engine) land(i int32) {
	s := &e.table.slots[i]
	p := &e.paths[s.path]
	e.table.remove(&p.flight[s.class], i)
	p.inFlight--
	e.inFlight--
}

// find takes slot i out of the frames that were lost.
func (e *Engine) find(i int32) {
	e.table.remove(&e.lost, i)
	e.paths[e.table.slots[i].path].lost--
}

// Sectors is the size of the disk as it last told it itself (H16).
func (e *Engine) Sectors() uint64 { return e.sectors }

// MaxSectors is the most sectors in a frame as the target last told it, or 0.
func (e *Engine) MaxSectors() int { return e.maxSectors }

// LimitWindow bounds the frames in flight while memory is short; 0: no bound.
func (e *Engine) LimitWindow(frames int) { e.window.memoryMax = frames }

// arm makes sure that Advance looks at the timers at t.
func (e *Engine) arm(t time.Duration) { e.wakeAt = min(e.wakeAt, t) }
