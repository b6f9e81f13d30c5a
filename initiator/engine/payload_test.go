package engine

import (
	"slices"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// TestLadder: which lengths are tried.
func TestLadder(t *testing.T) {
	for full, want := range map[uint64][]uint64{
		0: {0}, 1: {1, 0}, 2: {2, 1, 0}, 16: {16, 8, 4, 2, 1, 0}, 24: {24, 8, 4, 2, 1, 0},
		255: {255, 120, 56, 24, 8, 4, 2, 1, 0},
	} {
		var got []uint64
		for _, r := range ladder(full) {
			got = append(got, r.sectors)
		}
		if !slices.Equal(got, want) || len(got) > maxRungs {
			t.Errorf("%d sectors: %v, want %v", full, got, want)
		}
	}
}

// TestFramesGetShorterAndLonger: frames of 8 sectors do not get through any more on
// the only path, because of a switch, of the target, or of our port. What was
// submitted is carried out in parts; when they get through again, frames are
// whole again.
func TestFramesGetShorterAndLonger(t *testing.T) {
	swallow := func(w *world, n int) {
		w.target.Change(func(c *initiatortest.Config) { c.Faults.Swallow = n })
	}
	refuse := func(w *world, n uint8) {
		w.target.Change(func(c *initiatortest.Config) { c.MaxSectors = n })
	}
	for _, row := range []struct {
		name        string
		trouble     Trouble
		harm, clear func(w *world)
	}{
		{"switch", ShortFrames, func(w *world) { swallow(w, 1514) }, func(w *world) { swallow(w, 0) }},
		{"target", ShortFrames, func(w *world) { refuse(w, 2) }, func(w *world) { refuse(w, 255) }},
		{"our port", SmallMTU, func(w *world) { w.engine.LinkChanged(w.now, 0, ours, true, 2) },
			func(w *world) { w.engine.LinkChanged(w.now, 0, ours, true, 16) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, Config{DeadTime: -1, FrameLen: frame.ATADataOffset + 8*frame.SectorSize}, initiatortest.Config{Sectors: 256})
			step := func() { // a millisecond
				w.now += ms(1)
				w.turn()
				w.answerAll()
			}
			row.harm(w)
			var all []*Request
			for i := range uint64(8) {
				r := request(Write, 20*i, 20, 0)
				for _, f := range r.Frames {
					for k := range f.Sectors {
						f.Transmit[frame.ATADataOffset+k*frame.SectorSize] = byte(f.LBA + k + 1)
					}
				}
				all = append(all, w.submit(r), w.submit(request(Read, 20*i, 20, 0)))
			}
			for len(w.ended) < len(all) && w.now < 20*time.Second {
				step()
			}
			for _, r := range all {
				w.outcome(r, Outcome{})
			}
			for i := range 160 {
				if got := w.target.Bytes(i*frame.SectorSize, 1)[0]; got != byte(i+1) {
					t.Errorf("sector %d holds what was written to %d", i, int(got)-1)
				}
			}
			p := w.engine.Path(0)
			if n := w.engine.Counters().Refused; (n > 0) != (row.name == "target") {
				t.Errorf("%d frames were refused", n)
			}
			if _, on := p.Trouble(row.trouble); !on || p.Sectors != 2 || w.engine.Counters().Cut == 0 {
				t.Errorf("trouble %v, %d sectors in a frame, %d frames were sent in parts", on, p.Sectors, w.engine.Counters().Cut)
			}
			row.clear(w)
			for range 3000 {
				step()
			}
			p = w.engine.Path(0)
			if _, on := p.Trouble(row.trouble); on || p.Sectors != 8 {
				t.Errorf("long frames get through again: trouble %v, %d sectors in a frame", on, p.Sectors)
			}
			before := w.target.Seen().Sectors[2]
			r := w.submit(request(Write, 0, 16, 9))
			step()
			w.outcome(r, Outcome{})
			if n := w.target.Seen().Sectors[2]; n != before {
				t.Errorf("%d frames of 2 sectors are sent", n-before)
			}
		})
	}
}

// TestARefusalOfOneSectorIsAnAnswer: error 2 is not taken for a matter of length
// for ever (H11).
func TestARefusalOfOneSectorIsAnAnswer(t *testing.T) {
	w := newWorld(t, Config{FrameLen: frame.ATADataOffset + 8*frame.SectorSize}, initiatortest.Config{Faults: initiatortest.Faults{AoEError: 2}})
	r := w.submit(request(Write, 0, 8, 1))
	for range 20 {
		w.answerAll()
		w.now += ms(0.1)
		w.turn()
	}
	if len(w.ended) != 1 || r.Outcome().Result != TargetError || r.Outcome().Code != 2 {
		t.Errorf("%d requests ended, %+v", len(w.ended), r.Outcome())
	}
}

// TestPartsTakeNoMemory: nothing is allocated for a frame that is sent in parts.
func TestPartsTakeNoMemory(t *testing.T) {
	w := newWorld(t, Config{DeadTime: -1, FrameLen: frame.ATADataOffset + 8*frame.SectorSize}, initiatortest.Config{})
	w.engine.LinkChanged(0, 0, ours, true, 2)
	w.turn()
	w.answerAll()
	r := request(Write, 0, 16, 1)
	out, answer := make([][]byte, 8), make([]byte, frame.MinLen)
	parts := 0
	if n := testing.AllocsPerRun(100, func() {
		w.now += ms(0.1)
		w.engine.Submit(w.now, r)
		for w.engine.Completed() == nil {
			w.engine.Advance(w.now)
			for _, b := range out[:w.engine.Drain(w.now, 0, out)] {
				copy(answer, b)
				if frame.Reply(answer, theirs, disk); answer[19] == uint8(commandATA) && answer[frame.HeaderLen+3] != uint8(frame.OpIdentify) {
					frame.PutResult(answer, frame.StatusDRDY, 0, 0)
					w.engine.Receive(w.now, 0, answer)
					parts++
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if parts != 101*8 {
		t.Errorf("%d parts of 101 requests, want 8 of each", parts)
	}
}

// TestPartsDoNotOverwriteEachOther: however large the window, what one turn sends
// in parts stays as it is until the turn ends.
func TestPartsDoNotOverwriteEachOther(t *testing.T) {
	w := newWorld(t, Config{DeadTime: -1, Buffers: 256, FrameLen: frame.ATADataOffset + 8*frame.SectorSize}, initiatortest.Config{Sectors: 4096, Buffers: 256})
	w.engine.window.cwnd = 200 // as after many answers
	if n := w.engine.limit(); n <= pieces {
		t.Fatalf("a window of %d frames is too small for this", n)
	}
	w.engine.LinkChanged(w.now, 0, ours, true, 2)
	for i := range uint64(200) {
		w.engine.Submit(w.now, request(Write, 8*i, 8, byte(i)))
	}
	var sent, as [][]byte
	out := make([][]byte, 32)
	for n := w.engine.Drain(w.now, 0, out); n > 0; n = w.engine.Drain(w.now, 0, out) {
		for _, b := range out[:n] {
			sent, as = append(sent, b), append(as, slices.Clone(b))
		}
	}
	if len(sent) < pieces {
		t.Errorf("%d frames sent, want %d", len(sent), pieces)
	}
	for i := range sent {
		if !slices.Equal(sent[i], as[i]) {
			t.Fatalf("frame %d of %d became another", i, len(sent))
		}
	}
}
