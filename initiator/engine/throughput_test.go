package engine

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"aoe/initiator/initiatortest"
)

// TestThroughputUnderLoss measures, on a virtual clock, what is left of the
// loss-free rate of 32 random requests at a time: a target that serves one
// request in 8 us, 10 us away, half of the losses on each way.
func TestThroughputUnderLoss(t *testing.T) {
	for _, row := range []struct {
		kind  Kind
		loss  float64
		least float64 // of the rate without loss
	}{
		{Read, 0.01, 0.8}, {Read, 0.05, 0.5}, {Write, 0.01, 0.8}, {Write, 0.05, 0.5},
	} {
		clean, again := rate(t, row.kind, 0)
		if again != 0 {
			t.Errorf("%d frames sent again without loss", again)
		}
		lossy, again := rate(t, row.kind, row.loss)
		t.Logf("kind %d, loss %.0f %%: %.0f/s of %.0f/s, %d sent again", row.kind, row.loss*100, lossy, clean, again)
		if lossy < row.least*clean {
			t.Errorf("kind %d: at %.0f %% loss only %.0f %% of the rate is left, want %.0f %%",
				row.kind, row.loss*100, 100*lossy/clean, 100*row.least)
		}
	}
}

// rate is requests per second over a tenth of a virtual second.
func rate(t *testing.T, kind Kind, loss float64) (perSecond float64, again uint64) {
	const (
		service = 8 * time.Microsecond
		way     = 10 * time.Microsecond
		length  = 100 * time.Millisecond
		blocks  = 1 << 17
	)
	target := newTarget(initiatortest.Config{})
	e, err := New(Config{
		Addr: disk, Local: ours, Remote: theirs, Buffers: 64, Identity: identityOf(target),
		DeadTime: -1, Probe: -1, Rand: rand.NewPCG(1, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(2, 2))
	var queue events
	var now, busy time.Duration
	seq, ended := 0, 0
	post := func(at time.Duration, b []byte, toTarget bool) {
		if rng.Float64() >= loss/2 {
			seq++
			heap.Push(&queue, event{at, seq, append([]byte(nil), b...), toTarget})
		}
	}
	submit := func(r *Request) {
		// The target's disk is small, so the frames all name its beginning;
		// the engine takes them for a disk of half a gigabyte.
		r.LBA = rng.Uint64N(blocks) * 8
		r.Frames[0].LBA = r.LBA
		e.Submit(now, r)
	}
	for range 32 {
		submit(request(kind, 0, 8, 1))
	}
	out := make([][]byte, 64)
	for now < length {
		e.Advance(now)
		for r := e.Completed(); r != nil; r = e.Completed() {
			ended++
			submit(r)
		}
		for n := e.Drain(now, out); n > 0; n = e.Drain(now, out) {
			for _, b := range out[:n] {
				post(now+way, b, true)
			}
		}
		now = e.Deadline()
		if len(queue) == 0 || queue[0].at > now {
			continue
		}
		ev := heap.Pop(&queue).(event)
		now = ev.at
		if ev.toTarget {
			busy = max(busy, now) + service
			for _, reply := range target.Answer(ev.frame) {
				post(busy+way, reply, false)
			}
			continue
		}
		e.Receive(now, ev.frame)
	}
	return float64(ended) / length.Seconds(), e.Counters().Retransmitted
}
