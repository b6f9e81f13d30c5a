package engine

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"

	"github.com/mdlayher/aoe"
)

// TestI11NeverMoreInFlightThanAdvertised: whatever the target's buffer count,
// whatever is lost, and also when it becomes smaller. One is always allowed.
func TestI11NeverMoreInFlightThanAdvertised(t *testing.T) {
	for _, buffers := range []uint16{1, 2, 3, 16, 64} {
		w := newWorld(t, Config{Buffers: int(buffers)}, initiatortest.Config{Buffers: buffers})
		rng := rand.New(rand.NewPCG(1, uint64(buffers)))
		for i := range 400 {
			w.engine.Submit(w.now, request(Read, uint64(i), 8, 0))
		}
		for len(w.ended) < 400 {
			w.turn()
			if g := w.engine.Gauges(); g.InFlight > int(buffers) {
				t.Fatalf("%d in flight, %d advertised", g.InFlight, buffers)
			}
			if len(w.sent) == 0 {
				w.wait(max(w.engine.Deadline()-w.now, 0))
				continue
			}
			b := w.sent[0]
			w.sent = w.sent[1:]
			if rng.IntN(10) > 0 {
				w.now += 50 * time.Microsecond
				w.answer(b)
			}
		}
	}
	t.Run("it becomes smaller", func(t *testing.T) {
		w := newWorld(t, Config{}, initiatortest.Config{})
		for i := range 40 {
			w.submit(request(Read, uint64(i), 1, 0))
		}
		w.target.Change(func(c *initiatortest.Config) { c.Buffers = 2 })
		all := w.sent
		w.sent = nil
		w.receive(w.target.Announcement())
		w.answerAll() // query and IDENTIFY
		for _, b := range all {
			w.answer(b)
			if n := w.engine.inFlight; len(w.sent) > 0 && n > 2 {
				t.Fatalf("sent with %d in flight, 2 advertised", n)
			}
		}
		w.answerAll()
		if len(w.ended) != 40 {
			t.Errorf("%d of 40 ended", len(w.ended))
		}
	})
	t.Run("none advertised", func(t *testing.T) {
		w := newWorld(t, Config{Buffers: -1}, initiatortest.Config{})
		r := w.submit(request(Read, 0, 8, 0))
		w.answer(w.take())
		w.outcome(r, Outcome{})
	})
	t.Run("memory is short", func(t *testing.T) {
		w := newWorld(t, Config{}, initiatortest.Config{})
		w.engine.LimitWindow(3)
		for i := range 10 {
			w.submit(request(Read, uint64(i*8), 8, 0))
		}
		if len(w.sent) != 3 {
			t.Errorf("%d sent, 3 allowed", len(w.sent))
		}
	})
}

// TestI12RetransmissionNeedsNoMemory: what is sent again is the same buffer.
func TestI12RetransmissionNeedsNoMemory(t *testing.T) {
	w := newWorld(t, Config{RTOFirst: ms(10)}, initiatortest.Config{})
	r := request(Write, 0, 8, 7)
	w.engine.Submit(0, r)
	out := make([][]byte, 1)
	for range 3 {
		w.engine.Advance(w.now)
		if n := w.engine.Drain(w.now, 0, out); n != 1 {
			t.Fatalf("%d frames sent at %v", n, w.now)
		}
		if &out[0][0] != &r.Frames[0].Transmit[0] || len(out[0]) != len(r.Frames[0].Transmit) {
			t.Fatal("another buffer than the request's own was sent")
		}
		if out[0][frame.ATADataOffset] != 7 {
			t.Fatal("the data has changed")
		}
		w.now = w.engine.Deadline()
	}
}

// TestI13StaleAndForgedTagsHitNobody: answers to all earlier lives of a slot,
// while the slot is in use again.
func TestI13StaleAndForgedTagsHitNobody(t *testing.T) {
	w := newWorld(t, Config{Slots: 8, Window: 4}, initiatortest.Config{})
	var old [][]byte
	for range 100 {
		r := w.submit(request(Read, 0, 1, 0))
		reply := w.target.Answer(w.take())[0]
		for _, b := range old {
			if got, _ := w.receive(b); got != nil {
				t.Fatal("an answer to an earlier request hit a live one")
			}
		}
		old = append(old, bytes.Clone(reply))
		if got, _ := w.receive(reply); got != r {
			t.Fatal("the right answer did not hit")
		}
	}
}

// TestI10NoAllocation: a request's round trip, also when it is lost, sent again,
// fenced, ordered, refused or canceled.
func TestI10NoAllocation(t *testing.T) {
	w := newWorld(t, Config{RTOFirst: ms(5), FrameLife: ms(50), Slots: 64, Window: 16}, initiatortest.Config{})
	e := w.engine
	out := make([][]byte, 8)
	turn := func() (n int) {
		e.Advance(w.now)
		for e.Completed() != nil {
		}
		for {
			k := e.Drain(w.now, 0, out)
			if n += k; k == 0 {
				return n
			}
		}
	}
	read, write, second := request(Read, 0, 8, 0), request(Write, 0, 16, 1), request(Write, 8, 8, 2)
	reply := make([]byte, 0, 9000)
	answer := func(b []byte, change func(b []byte)) {
		reply = append(reply[:0], b...)
		frame.Reply(reply, theirs, disk)
		frame.PutResult(reply, frame.StatusDRDY, 0, 0)
		if b[frame.HeaderLen+3] == byte(frame.OpReadExt) {
			reply = reply[:frame.ATADataOffset+8*frame.SectorSize]
		}
		change(reply)
		e.Receive(w.now, 0, reply)
	}
	fine := func([]byte) {}
	for _, row := range []struct {
		name string
		f    func()
	}{
		{"answered", func() {
			e.Submit(w.now, read)
			turn()
			answer(out[0], fine)
			turn()
		}},
		{"sent again, fenced, waited for", func() {
			e.Submit(w.now, write)
			turn()
			w.now += ms(10)
			turn()
			answer(write.Frames[0].Transmit, fine)
			turn() // the window may be one
			answer(write.Frames[1].Transmit, fine)
			turn()
			e.Submit(w.now, second)
			turn()
			w.now += ms(60)
			turn()
			answer(second.Frames[0].Transmit, fine)
			w.now += ms(60)
			turn()
		}},
		{"ordered, canceled", func() {
			e.Submit(w.now, write)
			e.Submit(w.now, second)
			turn()
			e.Cancel(w.now, write)
			e.Cancel(w.now, second)
			turn()
			w.now += ms(60)
			turn()
		}},
		{"refused by the target", func() {
			e.Submit(w.now, read)
			turn()
			answer(out[0], func(b []byte) { b[14], b[15] = b[14]|frame.FlagError, byte(aoe.ErrorDeviceUnavailable) })
			turn()
		}},
		{"refused by the disk", func() {
			e.Submit(w.now, read)
			turn()
			answer(out[0], func(b []byte) { frame.PutResult(b, frame.StatusErr, frame.ErrorUNC, 1) })
			turn()
		}},
		{"a flood of foreign frames", func() {
			e.Submit(w.now, read)
			turn()
			for i := range 24 {
				answer(out[0], func(b []byte) { b[i] ^= 0x5a })
			}
			answer(out[0], fine)
			turn()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(200, row.f); n != 0 {
				t.Errorf("%v allocations", n)
			}
			if e.all.head != nil {
				t.Error("requests are left: the row does not do what it says")
			}
		})
	}
}
