package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// pipeline is a world in which n reads were answered one after the other, a
// tenth of a millisecond each, so that its round trip is known.
func pipeline(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t, Config{Window: 64, RTOMin: ms(5)}, initiatortest.Config{})
	w.engine.window.cwnd = 64
	for range n {
		w.submit(request(Read, 0, 1, 0))
		w.now += ms(0.1)
		w.answerAll()
	}
	return w
}

// TestLossIsNoticedWithoutATimer: a read is lost, later ones are answered, and
// it is sent again long before its timer would run out.
func TestLossIsNoticedWithoutATimer(t *testing.T) {
	w := pipeline(t, 30)
	lost := w.submit(request(Read, 7, 1, 0))
	w.sent = nil
	for range 2 {
		w.now += ms(0.02)
		w.submit(request(Read, 0, 1, 0))
	}
	w.now += ms(0.06)
	w.answerAll()
	w.outcome(lost, Outcome{})
	c := w.engine.Counters()
	if c.Fast != 1 || c.Retransmitted != 1 || c.Timeouts != 0 {
		t.Errorf("%d sent again, %d of them before the timer ran out, %d timeouts; want 1, 1, 0", c.Retransmitted, c.Fast, c.Timeouts)
	}
}

// TestReadsOvertakeWrites: a write is not lost because later reads are answered.
func TestReadsOvertakeWrites(t *testing.T) {
	w := pipeline(t, 30)
	w.submit(request(Write, 100, 8, 1))
	w.submit(request(Flush, 0, 0, 0))
	w.sent = nil
	for range 20 {
		w.now += ms(0.1)
		w.submit(request(Read, 0, 1, 0))
		w.answerAll()
	}
	if c := w.engine.Counters(); c.Retransmitted != 0 {
		t.Errorf("%d frames sent again", c.Retransmitted)
	}
}

// TestReorderingIsLearned: where the target answers one in four reads half a
// round trip late, that is taken for a loss at first and soon no more.
func TestReorderingIsLearned(t *testing.T) {
	w := pipeline(t, 30)
	var slow []byte
	for range 400 {
		w.submit(request(Read, 1, 1, 0))
		held := w.sent[len(w.sent)-1]
		w.sent = w.sent[:len(w.sent)-1]
		for range 3 {
			w.now += ms(0.05)
			w.submit(request(Read, 2, 1, 0))
			w.answerAll()
		}
		if slow != nil {
			w.answer(slow)
		}
		slow = held
	}
	c := w.engine.Counters()
	if c.Fast == 0 || c.Fast > 4 {
		t.Errorf("%d reads of 400 that came late were sent again, want a few", c.Fast)
	}
	// What was learned is forgotten when it is not seen any more.
	w.answer(slow)
	for range 2 * epoch {
		w.submit(request(Read, 2, 1, 0))
		w.now += ms(0.05)
		w.answerAll()
	}
	before := w.engine.Counters().Fast
	w.submit(request(Read, 7, 1, 0))
	w.sent = nil
	w.now += ms(0.05)
	w.submit(request(Read, 2, 1, 0))
	w.now += ms(0.05)
	w.answerAll()
	if c := w.engine.Counters(); c.Fast != before+1 {
		t.Errorf("a loss was not noticed by what came later: %d", c.Fast-before)
	}
}

// TestPoisonFrameIsLeftToItsTimer: a read that is never answered is sent again
// early twice, and then as its timer says, however many others are answered.
func TestPoisonFrameIsLeftToItsTimer(t *testing.T) {
	w := pipeline(t, 30)
	w.submit(request(Read, 7, 1, 0))
	copies := 1
	w.sent = nil
	for w.now < time.Second {
		w.now += ms(0.1)
		w.submit(request(Read, 0, 1, 0))
		for len(w.sent) > 0 {
			b := w.sent[0]
			w.sent = w.sent[1:]
			if a, _, _ := frame.ParseATA(b[frame.HeaderLen:]); a.LBA == 7 {
				copies++
				continue
			}
			w.answer(b)
		}
	}
	if copies < 1+fastTries+4 || copies > 1+fastTries+10 {
		t.Errorf("%d copies in a second, want about 3 and then 5, 10, 20... ms apart", copies)
	}
}

// TestFramesInFlightStayInOrderOfSending: whatever is lost, sent again and
// presumed delayed, the oldest is the first.
func TestFramesInFlightStayInOrderOfSending(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, Config{Window: 32, DeadTime: -1, RTOFirst: ms(1), RTOMin: ms(0.3), Silence: time.Hour}, initiatortest.Config{})
		for range 2000 {
			if len(w.sent) < 24 {
				w.submit(request([]Kind{Read, Write}[rng.IntN(2)], rng.Uint64N(2000), 1, 1))
			}
			w.now += time.Duration(rng.IntN(100)) * time.Microsecond
			if len(w.sent) > 0 {
				k := rng.IntN(len(w.sent))
				b := w.sent[k]
				w.sent = append(w.sent[:k], w.sent[k+1:]...)
				if rng.IntN(5) > 0 {
					w.answer(b)
				}
			}
			w.turn()
			n := 0
			for c := range classes {
				last := time.Duration(0)
				for i := w.engine.paths[0].flight[c].head; i != 0; i = w.engine.table.slots[i].next {
					s := &w.engine.table.slots[i]
					if n++; s.lastSent() < last || s.state != slotFlight || s.class != c {
						t.Fatalf("seed %d: slot %d in flight is out of place", seed, i)
					}
					last = s.lastSent()
				}
			}
			if n != w.engine.inFlight {
				t.Fatalf("seed %d: %d in flight, %d counted", seed, n, w.engine.inFlight)
			}
		}
	}
}
