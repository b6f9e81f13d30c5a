package engine

import (
	"testing"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// A cachedWorld is one whose target has a write cache that it may lose.
type cachedWorld struct {
	*world
	life uint64
}

func newCachedWorld(t *testing.T) *cachedWorld {
	return &cachedWorld{newWorld(t, Config{}, initiatortest.Config{Instance: 1, Verifier: frame.NewVerifier(0)}), 0}
}

// powerFails takes everything that was not flushed, and nobody notices.
func (w *cachedWorld) powerFails() {
	w.life++
	w.target.PowerFails(func(uint64) bool { return true })
	w.target.Change(func(c *initiatortest.Config) { c.Instance, c.Verifier = c.Instance+1, frame.NewVerifier(w.life) })
}

// do submits a request and answers its frames.
func (w *cachedWorld) do(r *Request) *Request {
	w.t.Helper()
	w.submit(r)
	w.answerAll()
	return r
}

func (w *cachedWorld) write(lba uint64) {
	w.t.Helper()
	w.outcome(w.do(request(Write, lba, 8, 1)), Outcome{})
}

// flush wants a flush to succeed, or to say that something may be missing.
func (w *cachedWorld) flush(want Result) {
	w.t.Helper()
	w.outcome(w.do(request(Flush, 0, 0, 0)), Outcome{Result: want})
}

// begin submits a flush and returns it with its frame, unanswered.
func (w *cachedWorld) begin() (*Request, []byte) {
	w.t.Helper()
	r := w.submit(request(Flush, 0, 0, 0))
	return r, w.take()
}

// TestH17FlushAfterPowerFailure: what may have been forgotten between being
// acknowledged and being flushed is told, to everybody who is flushing, and once.
func TestH17FlushAfterPowerFailure(t *testing.T) {
	for name, run := range map[string]func(w *cachedWorld){
		"a write is forgotten": func(w *cachedWorld) {
			w.write(0)
			w.powerFails()
			w.flush(Forgotten)
			w.flush(OK)
			w.write(0)
			w.flush(OK)
		},
		"a trim is": func(w *cachedWorld) {
			w.do(request(Trim, 0, 8, 0))
			w.powerFails()
			w.flush(Forgotten)
		},
		"nothing was written": func(w *cachedWorld) {
			w.do(request(Read, 0, 8, 0))
			w.powerFails()
			w.flush(OK)
		},
		"it was flushed before": func(w *cachedWorld) {
			w.write(0)
			w.flush(OK)
			w.powerFails()
			w.flush(OK)
		},
		"the target is killed, and its machine is not": func(w *cachedWorld) {
			w.write(0)
			w.target.Change(func(c *initiatortest.Config) { c.Instance++ })
			w.flush(OK)
		},
		"something was written later, unnoticed": func(w *cachedWorld) {
			w.write(0)
			w.powerFails()
			w.write(8)
			w.flush(Forgotten)
			w.flush(OK)
		},
		"twice, and it looks as at first": func(w *cachedWorld) {
			w.write(0)
			w.powerFails()
			w.write(8)
			w.target.Change(func(c *initiatortest.Config) { c.Verifier = frame.NewVerifier(0) })
			w.flush(Forgotten)
		},
		"nobody has heard it": func(w *cachedWorld) {
			w.write(0)
			w.powerFails()
			w.flush(Forgotten)
			w.engine.Untold()
			w.flush(Forgotten)
			w.flush(OK)
		},
		"it happens again": func(w *cachedWorld) {
			w.write(0)
			w.powerFails()
			w.flush(Forgotten)
			w.write(0)
			w.powerFails()
			w.flush(Forgotten)
			w.flush(OK)
		},
		"between the frames of a write": func(w *cachedWorld) {
			r := w.submit(request(Write, 0, 16, 1))
			frames := w.sent
			w.sent = nil
			w.answer(frames[0])
			w.powerFails()
			w.flush(OK) // nothing was acknowledged yet
			w.answer(frames[1])
			w.outcome(r, Outcome{})
			w.flush(Forgotten)
			w.flush(OK)
		},
		"two are flushing": func(w *cachedWorld) {
			w.write(0)
			a, fa := w.begin()
			b, fb := w.begin()
			w.powerFails()
			w.answer(fa)
			w.outcome(a, Outcome{Result: Forgotten})
			w.write(0)
			w.flush(OK) // which does not bring back what b is about
			w.answer(fb)
			w.outcome(b, Outcome{Result: Forgotten})
		},
		"a write is acknowledged while one is flushing": func(w *cachedWorld) {
			w.write(0)
			a, fa := w.begin()
			w.write(8)
			w.powerFails()
			w.answer(fa)
			w.outcome(a, Outcome{Result: Forgotten})
			w.flush(Forgotten) // the other write
			w.flush(OK)
		},
	} {
		t.Run(name, func(t *testing.T) { run(newCachedWorld(t)) })
	}
}

// TestH17FlushesThatHaveDoneIt: one that was carried out in time succeeds however
// late its answer is, and so does another that asks for no more.
func TestH17FlushesThatHaveDoneIt(t *testing.T) {
	w := newCachedWorld(t)
	w.write(0)
	a, fa := w.begin()
	b, fb := w.begin()
	answers := w.target.Answer(fa)
	w.powerFails()
	w.receive(answers[0])
	w.outcome(a, Outcome{})
	w.answer(fb)
	w.outcome(b, Outcome{})
	w.flush(OK)
}

// TestH17FailedFlushSettlesNothing: one that is canceled, or that the disk refuses,
// leaves it to the next to tell.
func TestH17FailedFlushSettlesNothing(t *testing.T) {
	w := newCachedWorld(t)
	w.write(0)
	r, _ := w.begin()
	w.engine.Cancel(w.now, r)
	w.turn()
	w.outcome(r, Outcome{Result: Canceled})
	w.powerFails()
	w.target.Change(func(c *initiatortest.Config) { c.NoFlush = true })
	w.outcome(w.do(request(Flush, 0, 0, 0)), Outcome{Result: ATAError, Status: frame.StatusDRDY | frame.StatusErr, Error: frame.ErrorABRT})
	w.target.Change(func(c *initiatortest.Config) { c.NoFlush = false })
	w.flush(Forgotten)
	w.flush(OK)
}

// TestH17WriteThroughForgetsNothing: what a target without a write cache has
// acknowledged needs no flush; what it had acknowledged before, when it had one,
// does.
func TestH17WriteThroughForgetsNothing(t *testing.T) {
	through := func(w *cachedWorld, on bool) {
		w.target.Change(func(c *initiatortest.Config) { c.WriteThrough = on })
	}
	w := newCachedWorld(t)
	through(w, true)
	w.write(0)
	w.powerFails()
	w.flush(OK)

	w.write(0)
	through(w, false)
	w.write(8)
	w.powerFails()
	through(w, true)
	w.write(16)
	w.flush(Forgotten)
	w.flush(OK)
}

// TestH17TargetsThatDoNotTell: whatever stands in their answers, no flush fails for
// it. One in whose place another comes that does not tell has acknowledged what
// nobody can flush any more.
func TestH17TargetsThatDoNotTell(t *testing.T) {
	w := newCachedWorld(t)
	forget := func(c *initiatortest.Config) { c.Instance = 0 }
	w.write(0)
	w.target.Change(forget)
	w.engine.Revalidate(w.now)
	w.turn()
	w.answerAll()
	w.flush(Forgotten)
	for range 2 {
		w.write(0)
		w.powerFails()
		w.target.Change(forget)
		w.flush(OK)
	}
	if n := w.engine.Counters().Forgotten; n != 1 {
		t.Errorf("%d flushes are counted that said that something may be missing, want 1", n)
	}
}

// TestH17NothingIsAllocated, nor asked, for all this: it holds while there is no
// memory.
func TestH17NothingIsAllocated(t *testing.T) {
	w := newCachedWorld(t)
	flush, write := request(Flush, 0, 0, 0), request(Write, 0, 8, 1)
	out := make([][]byte, 4)
	do := func(r *Request) []byte {
		w.engine.Submit(w.now, r)
		if n := w.engine.Drain(w.now, 0, out); n != 1 {
			t.Fatalf("%d frames for one", n)
		}
		return out[0]
	}
	answer := func(b []byte, v frame.Verifier) { // as the target does, in the request's own buffer
		frame.Reply(b, theirs, disk)
		frame.PutResult(b, frame.StatusDRDY, 0, 0)
		frame.PutVerifier(b, v)
		w.engine.Receive(w.now, 0, b)
		w.engine.Completed()
	}
	again := func(r *Request) { // make a request of the answer
		r.Frames[0].Transmit[14] = 1 << 4
	}
	n := testing.AllocsPerRun(100, func() {
		for i := range uint64(2) {
			answer(do(write), frame.NewVerifier(i))
			again(write)
		}
		answer(do(flush), frame.NewVerifier(0))
		again(flush)
		if flush.Outcome().Result != Forgotten {
			t.Fatalf("the flush ended with %+v", flush.Outcome())
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
