package fabric

import (
	"encoding/binary"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
)

// A trusting protocol keeps as many frames in flight as the target says that it
// holds, whatever is lost: an initiator without congestion control. Its timers are
// those of the engine, so that the window is all that it does differently.
type trusting struct {
	addr          frame.Addr
	local, remote frame.MAC
	window        int

	tag      uint32
	flight   map[uint32]*flight
	order    []*flight // in flight, in order of sending
	lost     []*flight
	ready    []*flight // never sent
	pending  map[*engine.Request]int
	finished []*engine.Request
	counters engine.Counters

	wakeAt       time.Duration // nothing is due before
	srtt, rttvar time.Duration
}

type flight struct {
	r        *engine.Request
	index    int
	tag      uint32
	sent     time.Duration
	deadline time.Duration
	backoff  int
	landed   bool
}

// The engine's defaults.
const (
	rtoFirst = 100 * time.Millisecond
	rtoMin   = time.Millisecond
	rtoMax   = time.Second
)

func newTrusting(addr frame.Addr, local, remote frame.MAC, window int) *trusting {
	return &trusting{
		addr: addr, local: local, remote: remote, window: window, flight: map[uint32]*flight{}, pending: map[*engine.Request]int{},
		wakeAt: engine.Never,
	}
}

// Submit takes a request in.
func (t *trusting) Submit(_ time.Duration, r *engine.Request) {
	t.pending[r] = len(r.Frames)
	for i := range r.Frames {
		t.ready = append(t.ready, &flight{r: r, index: i})
	}
}

// Advance takes for lost what was not answered in time.
func (t *trusting) Advance(now time.Duration) {
	if now < t.wakeAt {
		return
	}
	t.wakeAt = engine.Never
	kept := t.order[:0]
	for _, f := range t.order {
		switch {
		case f.landed:
		case f.deadline <= now:
			delete(t.flight, f.tag)
			f.backoff++
			t.counters.Timeouts++
			t.lost = append(t.lost, f)
		default:
			kept = append(kept, f)
			t.wakeAt = min(t.wakeAt, f.deadline)
		}
	}
	t.order = kept
}

// Deadline is when Advance may have something to do.
func (t *trusting) Deadline() time.Duration { return t.wakeAt }

// Drain gives out frames while fewer are in flight than the target says it holds.
func (t *trusting) Drain(now time.Duration, _ int, out [][]byte) (n int) {
	for n < len(out) && len(t.flight) < t.window {
		queue := &t.lost
		if len(t.lost) == 0 {
			queue = &t.ready
		} else {
			t.counters.Retransmitted++
		}
		if len(*queue) == 0 {
			break
		}
		f := (*queue)[0]
		*queue = (*queue)[1:]
		t.tag++
		f.tag, f.sent = t.tag, now
		f.deadline = now + min(t.timeout()<<min(f.backoff, 10), rtoMax)
		t.wakeAt = min(t.wakeAt, f.deadline)
		t.flight[f.tag] = f
		t.order = append(t.order, f)
		b := f.r.Frames[f.index].Transmit
		frame.PutEthernet(b, t.remote, t.local)
		frame.PutTag(b, f.tag)
		out[n] = b
		n++
	}
	t.counters.Sent += uint64(n)
	return n
}

func (t *trusting) timeout() time.Duration {
	if t.srtt == 0 {
		return rtoFirst
	}
	return max(t.srtt+4*t.rttvar, rtoMin)
}

// Receive looks at an answer. A late one finds no tag.
func (t *trusting) Receive(now time.Duration, _ int, b []byte) (*engine.Request, int) {
	h, _, err := frame.Parse(b)
	if err != nil || !h.IsResponse() || h.Addr != t.addr {
		return nil, 0
	}
	f := t.flight[binary.BigEndian.Uint32(b[20:])]
	if f == nil {
		t.counters.Drops.Late++
		return nil, 0
	}
	delete(t.flight, f.tag)
	f.landed = true
	t.sample(now - f.sent)
	t.counters.Answered++
	whole := &f.r.Frames[f.index]
	whole.From, whole.Count = 0, whole.Sectors
	if t.pending[f.r]--; t.pending[f.r] == 0 {
		delete(t.pending, f.r)
		t.finished = append(t.finished, f.r)
	}
	return f.r, f.index
}

// sample is that of RFC 6298, section 2.
func (t *trusting) sample(rtt time.Duration) {
	if t.srtt == 0 {
		t.srtt, t.rttvar = rtt, rtt/2
		return
	}
	t.rttvar += (max(t.srtt-rtt, rtt-t.srtt) - t.rttvar) / 4
	t.srtt += (rtt - t.srtt) / 8
}

// Completed returns a request that has ended, or nil.
func (t *trusting) Completed() *engine.Request {
	if len(t.finished) == 0 {
		return nil
	}
	r := t.finished[0]
	t.finished = t.finished[1:]
	return r
}

// Counters are the counters as of now.
func (t *trusting) Counters() engine.Counters { return t.counters }

// Gauges are the gauges as of now.
func (t *trusting) Gauges() engine.Gauges {
	return engine.Gauges{Window: t.window, InFlight: len(t.flight), Buffers: t.window}
}
