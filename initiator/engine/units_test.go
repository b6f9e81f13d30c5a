package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"aoe/initiator/initiatortest"
)

// TestEstimator follows RFC 6298, section 2.
func TestEstimator(t *testing.T) {
	var e estimator
	if got := e.timeout(ms(100), ms(1), ms(1000)); got != ms(100) {
		t.Errorf("without a sample: %v", got)
	}
	// "When the first RTT measurement R is made, the host MUST set
	//  SRTT <- R, RTTVAR <- R/2, RTO <- SRTT + max (G, K*RTTVAR)"
	e.sample(ms(8))
	if got := e.timeout(ms(100), ms(1), ms(1000)); e.srtt != ms(8) || e.rttvar != ms(4) || got != ms(24) {
		t.Errorf("after one sample of 8 ms: %+v, timeout %v", e, got)
	}
	e.sample(ms(16))
	if e.srtt != ms(9) || e.rttvar != ms(5) {
		t.Errorf("after 8 and 16 ms: %+v", e)
	}
	for range 10000 {
		e.sample(ms(0.1))
	}
	if got := e.timeout(ms(100), ms(0.2), ms(1000)); got > ms(0.3) {
		t.Errorf("after 10,000 samples of 0.1 ms: timeout %v", got)
	}
	if got := e.timeout(ms(100), ms(2), ms(1000)); got != ms(2) {
		t.Errorf("least timeout: %v", got)
	}
	e.sample(time.Minute)
	if got := e.timeout(ms(100), ms(2), ms(1000)); got != ms(1000) {
		t.Errorf("most timeout: %v", got)
	}
	if e.least != ms(0.1) || e.most != time.Minute {
		t.Errorf("extremes: %+v", e)
	}
}

func TestWindow(t *testing.T) {
	w := newWindow(64, 256)
	if w.limit() != firstWindow {
		t.Errorf("begins with %d", w.limit())
	}
	for range 1000 {
		w.onAnswer(w.limit())
	}
	if w.limit() != 64 {
		t.Errorf("after 1000 answers %d, want the buffer count", w.limit())
	}
	for range 9 {
		w.onLoss(ms(10), ms(9), false)
	}
	if w.limit() != 64 {
		t.Errorf("after 9 losses in a round of 64 frames %d, want 64: they are the network's own", w.limit())
	}
	w.onLoss(ms(10), ms(9), false)
	w.onLoss(ms(10.5), ms(9), false)
	if w.limit() != 48 {
		t.Errorf("after more than an eighth were lost %d, want three quarters of 64", w.limit())
	}
	for range 20 {
		w.onLoss(ms(11), ms(9.9), false)
	}
	if w.limit() != 48 {
		t.Errorf("frames that were sent before the cut made it %d", w.limit())
	}
	for range 47 {
		w.onAnswer(48)
	}
	if w.limit() != 48 {
		t.Errorf("grew within a round to %d", w.limit())
	}
	w.onAnswer(48)
	if w.limit() != 49 {
		t.Errorf("a round later %d, want 49", w.limit())
	}
	w.onLoss(ms(13), ms(12), false)
	for range 48 {
		w.onAnswer(49)
	}
	if w.limit() != 49 {
		t.Errorf("grew to %d in a round with a loss", w.limit())
	}
	for range 1000 {
		w.onAnswer(3)
	}
	if w.limit() != 49 {
		t.Errorf("a window that is not used grew to %d", w.limit())
	}
	for i := range 20 {
		w.onLoss(ms(float64(20+10*i)), ms(float64(19+10*i)), true)
	}
	if w.limit() != 2 {
		t.Errorf("after 20 silent timeouts %d, want 2", w.limit())
	}
	for range 200 {
		w.onAnswer(w.limit())
	}
	if w.limit() < 16 {
		t.Errorf("after 200 answers only %d again", w.limit())
	}
	w.buffers, w.memoryMax = 0, 0
	if w.limit() != 1 {
		t.Errorf("without buffers %d, want 1", w.limit())
	}
}

// TestSpuriousTimeoutsAreNoLoss: cuts that turn out to have been for slowness are
// undone, older ones are not.
func TestSpuriousTimeoutsAreNoLoss(t *testing.T) {
	w := newWindow(64, 64)
	w.cwnd = 64
	w.onLoss(ms(10), ms(9), true)
	if w.limit() != 2 {
		t.Fatalf("silence leaves %d of 64", w.limit())
	}
	w.cwnd = 32
	for i := range 12 {
		w.onLoss(ms(float64(1000+10*i)), ms(float64(999+10*i)), false)
	}
	if w.limit() != 18 {
		t.Fatalf("two rounds of losses leave %d of 32", w.limit())
	}
	w.onSpurious()
	if w.limit() != 32 {
		t.Errorf("undone to %d, want 32: what was before the last few cuts", w.limit())
	}
	w.onSpurious()
	if w.limit() != 32 {
		t.Errorf("undone twice, to %d", w.limit())
	}
}

// TestStallIsNotAnsweredWithAStorm: the target stalls for a moment with a whole
// window in its hands. Two frames are sent again, not all; then the answers come,
// and the window is what it was.
func TestStallIsNotAnsweredWithAStorm(t *testing.T) {
	w := newWorld(t, Config{Window: 32}, initiatortest.Config{})
	for range 40 { // measure, and open the window
		for i := range 32 {
			w.submit(request(Read, uint64(i), 1, 0))
		}
		w.now += ms(0.1)
		w.answerAll()
	}
	if n := w.engine.window.limit(); n != 32 {
		t.Fatalf("the window is %d", n)
	}
	w.ended = nil
	for i := range 32 {
		w.submit(request(Write, uint64(i*8), 8, 1))
	}
	stalled := slices.Clone(w.sent[4:])
	w.sent = w.sent[:4]
	w.now += ms(0.1)
	w.answerAll()   // a few are answered before it stalls
	w.wait(ms(101)) // no write was measured: the first timeout is 100 ms
	if len(w.sent) != 2 {
		t.Errorf("%d frames sent again, want two", len(w.sent))
	}
	w.sent = nil
	for _, b := range stalled {
		w.answer(b)
	}
	if len(stalled) != 28 || len(w.ended) != 32 || len(w.sent) > 0 {
		t.Errorf("%d of 32 ended, %d frames more sent again", len(w.ended), len(w.sent))
	}
	if n := w.engine.window.limit(); n != 32 {
		t.Errorf("the window is %d after a stall", n)
	}
}

// TestFenceIndex compares what the chains find with what looking at every
// fence finds.
func TestFenceIndex(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, Config{Slots: 256, Window: 4, DeadTime: -1}, initiatortest.Config{})
	e := w.engine
	far := func() uint64 { return rng.Uint64N(3) * (rng.Uint64N(2000) + 1) } // few places, some far
	var up []int32
	for step := range 20000 {
		if len(up) < 100 && rng.IntN(2) == 0 {
			i := e.table.take()
			s := &e.table.slots[i]
			s.lba, s.sectors, s.count = far(), 1+rng.Uint64N(255), 1
			s.kind = Write
			if rng.IntN(10) == 0 {
				s.kind, s.sectors = Trim, 1+rng.Uint64N(5000)
			}
			s.sent[0] = time.Duration(rng.Int64N(int64(time.Second)))
			e.putUpFence(0, i)
			up = append(up, i)
		} else if len(up) > 0 {
			k := rng.IntN(len(up))
			e.takeDownFence(up[k])
			up = append(up[:k], up[k+1:]...)
		}
		r := &Request{Kind: Write, LBA: far(), Sectors: 1 + rng.Uint64N(600)}
		if rng.IntN(20) == 0 {
			r.Sectors = 1 + rng.Uint64N(100000)
		}
		want := false
		for _, i := range up {
			s := &e.table.slots[i]
			want = want || overlap(s.lba, s.sectors, r.LBA, r.Sectors)
		}
		if got := e.fencedOff(r); got != want {
			t.Fatalf("seed %d, step %d: fenced off: %v, want %v", seed, step, got, want)
		}
		if e.fence.up != len(up) {
			t.Fatalf("seed %d, step %d: %d fences, want %d", seed, step, e.fence.up, len(up))
		}
		if rng.IntN(10) == 0 {
			e.paths[0].reached = time.Duration(rng.Int64N(int64(time.Second)))
			e.passFences(0, &e.paths[0])
		}
		for _, l := range e.fence.lists {
			last := time.Duration(0)
			for i := l.head; i != 0; i = e.table.slots[i].next {
				if d := e.table.slots[i].deadline; d < last {
					t.Fatalf("seed %d, step %d: fences are not in order of expiry", seed, step)
				} else {
					last = d
				}
			}
		}
	}
}

// TestTagsAroundTheEnd: generations wrap around without confusing anything.
func TestTagsAroundTheEnd(t *testing.T) {
	tb := newTable(8, rand.NewPCG(1, 1), nil)
	tb.slots[1].base = tb.genMask
	i := tb.take()
	if i != 1 {
		t.Fatalf("slot %d taken first, want 1", i)
	}
	b := make([]byte, 60)
	s := &tb.slots[i]
	s.state = slotFlight
	for n := range uint32(5) {
		tb.stamp(time.Duration(n), i, b, &path{local: ours, remote: theirs})
		slot, copyNumber, what := tb.find(tagOf(b))
		if slot != 1 || copyNumber != n || what != tagLive || tagOf(b)>>31 != 0 {
			t.Errorf("transmission %d has tag %#x and is found as %d of slot %d (%d)", n, tagOf(b), copyNumber, slot, what)
		}
	}
	old := tagOf(b)
	tb.release(1)
	if _, _, what := tb.find(old); what != tagLate {
		t.Errorf("tag of a freed slot: %d, want late", what)
	}
	if _, _, what := tb.find(old + 1<<tb.bits); what != tagUnknown {
		t.Errorf("tag that was not given out yet: %d, want unknown", what)
	}
}

// TestManyTransmissions: more than are kept with their times, and more than
// the 64 whose answers are kept.
func TestManyTransmissions(t *testing.T) {
	w := newWorld(t, Config{RTOFirst: ms(1), RTOMin: ms(1), RTOMax: ms(1), Silence: time.Hour, DeadTime: -1}, initiatortest.Config{})
	r := w.submit(request(Write, 0, 8, 1))
	w.wait(ms(99))
	if len(w.sent) != 100 {
		t.Fatalf("%d transmissions in 100 ms, want 100", len(w.sent))
	}
	all := w.sent
	w.sent = nil
	w.answer(all[3])
	w.outcome(r, Outcome{})
	if g := w.engine.Gauges(); g.Write.Samples != 0 {
		t.Error("an answer to a transmission whose time is forgotten was measured")
	}
	for _, b := range all {
		w.answer(b)
	}
	if g := w.engine.Gauges(); g.FencesUp != 1 || g.Write.Samples != timesKept {
		t.Errorf("%d fences, %d samples; want 1 (not all answers can be told apart) and %d", g.FencesUp, g.Write.Samples, timesKept)
	}
	w.wait(time.Second)
	checkQuiet(t, w.engine, false)
}

// TestSlowIsNotLost: as long as answers come in order, a frame whose turn has not
// come is not sent again, however late it is; one that was passed over is.
func TestSlowIsNotLost(t *testing.T) {
	slow := func(t *testing.T) *world {
		w := newWorld(t, Config{Window: 64}, initiatortest.Config{})
		w.engine.window.cwnd = 64
		for range 30 {
			w.submit(request(Read, 0, 1, 0))
			w.now += ms(0.1)
			w.answerAll()
		}
		for i := range 20 {
			w.submit(request(Read, uint64(i), 1, 0))
			w.now += ms(0.01)
		}
		return w
	}
	t.Run("slow", func(t *testing.T) {
		w := slow(t)
		for range 20 {
			w.wait(ms(0.4)) // the last one after 8 ms
			w.answer(w.sent[0])
			w.sent = w.sent[1:]
		}
		w.none("nothing was lost")
		if c := w.engine.Counters(); c.Timeouts != 0 {
			t.Errorf("%d timeouts", c.Timeouts)
		}
	})
	t.Run("passed over", func(t *testing.T) {
		w := slow(t)
		for range 19 {
			w.wait(ms(0.4))
			w.answer(w.sent[1])
			w.sent = append(w.sent[:1], w.sent[2:]...)
		}
		if len(w.sent) != 2 {
			t.Errorf("%d copies of the frame that was passed over, want 2", len(w.sent))
		}
	})
}
