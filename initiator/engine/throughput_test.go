package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"aoe/frame/link/linktest/timeline"
	"aoe/initiator/initiatortest"
)

// A wire is a network and a target, on a virtual clock.
type wire struct {
	name    string
	way     time.Duration // of a frame, in each direction
	service time.Duration // of a request
	jitter  time.Duration // more of it, at most
	servers int           // requests served at once; 0: as many as come
	queue   int           // requests that wait or are served, more are lost; 0: no bound
	buffers int           // advertised; 0: 64
}

var wires = []wire{
	// The target is the bottleneck: a loss costs nothing as long as others
	// keep it busy.
	{name: "one at a time", way: 10 * time.Microsecond, service: 8 * time.Microsecond, servers: 1},
	// The round trip is the bottleneck: what waits for a timer is missing.
	{name: "all at once", way: 40 * time.Microsecond, service: 20 * time.Microsecond},
	// The target's disk answers in any order.
	{name: "any order", way: 20 * time.Microsecond, service: 60 * time.Microsecond, jitter: 200 * time.Microsecond, servers: 16},
}

// TestThroughputUnderLoss measures what is left of the loss-free rate of 32
// random requests at a time, half of the losses on each way.
func TestThroughputUnderLoss(t *testing.T) {
	for _, w := range wires {
		for _, row := range []struct {
			kind  Kind
			loss  float64
			least float64 // of the rate without loss
		}{
			{Read, 0.01, 0.8}, {Read, 0.05, 0.5}, {Write, 0.01, 0.8}, {Write, 0.05, 0.5},
		} {
			clean, c := w.rate(t, row.kind, 32, 0)
			// Where the disk reorders, how far has to be learned.
			if most := uint64(clean / 10000); c.Retransmitted > 0 && w.jitter == 0 || c.Retransmitted > most {
				t.Errorf("%s, kind %d: %d frames sent again without loss", w.name, row.kind, c.Retransmitted)
			}
			lossy, c := w.rate(t, row.kind, 32, row.loss)
			t.Logf("%s, kind %d, loss %.0f %%: %.0f/s of %.0f/s (%.0f %%), %d sent again, %d of them before their timer ran out, %d in vain, window cut %d times",
				w.name, row.kind, row.loss*100, lossy, clean, 100*lossy/clean, c.Retransmitted, c.Fast, c.Spurious, c.WindowCuts)
			if lossy < row.least*clean {
				t.Errorf("%s, kind %d: at %.0f %% loss only %.0f %% of the rate is left, want %.0f %%",
					w.name, row.kind, row.loss*100, 100*lossy/clean, 100*row.least)
			}
		}
	}
}

// TestWindowSettlesWhereTheTargetOverflows: a target that advertises more than
// it can hold, because others use it too, keeps busy and is not drowned.
func TestWindowSettlesWhereTheTargetOverflows(t *testing.T) {
	w := wire{name: "small queue", way: 20 * time.Microsecond, service: 10 * time.Microsecond, servers: 1, queue: 12, buffers: 256}
	full := wire{name: "large queue", way: w.way, service: w.service, servers: 1}
	best, _ := full.rate(t, Read, 200, 0)
	got, c := w.rate(t, Read, 200, 0)
	t.Logf("%.0f/s of %.0f/s, %d sent, %d of them again", got, best, c.Sent, c.Retransmitted)
	if got < 0.8*best {
		t.Errorf("%.0f %% of what the target can serve, want 80", 100*got/best)
	}
	if c.Retransmitted > c.Sent/5 {
		t.Errorf("%d of %d frames were sent again", c.Retransmitted, c.Sent)
	}
}

// A bench drives an engine over a wire.
type bench struct {
	wire
	loss   float64
	rng    *rand.Rand
	engine *Engine
	target *initiatortest.Target
	queue  timeline.Queue[event]
	now    time.Duration
	busy   []time.Duration // until when each server is
	due    []time.Duration // when what the target holds is served
}

// rate is requests per second over a tenth of a virtual second.
func (w wire) rate(t *testing.T, kind Kind, depth int, loss float64) (perSecond float64, c Counters) {
	const length = 100 * time.Millisecond
	b := &bench{wire: w, loss: loss, rng: rand.New(rand.NewPCG(2, 2)), target: newTarget(initiatortest.Config{})}
	b.busy = make([]time.Duration, max(w.servers, 1))
	e, err := New(Config{
		Addr: disk, Paths: onePath, Buffers: max(w.buffers, 64), Identity: identityOf(b.target),
		DeadTime: -1, Probe: -1, Rand: rand.NewPCG(1, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.engine = e
	for range depth {
		b.submit(request(kind, 0, 8, 1))
	}
	ended := 0
	out := make([][]byte, 64)
	for b.now < length {
		e.Advance(b.now)
		for r := e.Completed(); r != nil; r = e.Completed() {
			ended++
			b.submit(r)
		}
		for n := e.Drain(b.now, 0, out); n > 0; n = e.Drain(b.now, 0, out) {
			for _, f := range out[:n] {
				b.post(b.now+w.way, f, true)
			}
		}
		b.step()
	}
	return float64(ended) / length.Seconds(), e.Counters()
}

// submit sends r to a random place of half a gigabyte. The target's disk is
// smaller, so that the frames all name its beginning.
func (b *bench) submit(r *Request) {
	r.LBA = b.rng.Uint64N(1<<17) * 8
	r.Frames[0].LBA = r.LBA
	b.engine.Submit(b.now, r)
}

func (b *bench) post(at time.Duration, f []byte, toTarget bool) {
	if b.rng.Float64() >= b.loss/2 {
		b.queue.Add(at, event{append([]byte(nil), f...), toTarget, 0})
	}
}

// step lets the next thing happen: a frame arrives, or the engine's deadline.
func (b *bench) step() {
	b.now = b.engine.Deadline()
	if b.queue.Len() == 0 || b.queue.Next() > b.now {
		return
	}
	at, ev := b.queue.Take()
	b.now = at
	if ev.toTarget {
		b.serve(ev.frame)
	} else {
		b.engine.Receive(b.now, 0, ev.frame)
	}
}

// serve is the target.
func (b *bench) serve(f []byte) {
	b.due = slices.DeleteFunc(b.due, func(d time.Duration) bool { return d <= b.now })
	if b.wire.queue > 0 && len(b.due) >= b.wire.queue {
		return
	}
	took := b.service
	if b.jitter > 0 {
		took += time.Duration(b.rng.Int64N(int64(b.jitter)))
	}
	end := b.now + took
	if b.servers > 0 {
		first := &b.busy[0]
		for i := range b.busy {
			if b.busy[i] < *first {
				first = &b.busy[i]
			}
		}
		*first = max(*first, b.now) + took
		end = *first
	}
	b.due = append(b.due, end)
	for _, reply := range b.target.Answer(f) {
		b.post(end+b.way, reply, false)
	}
}
