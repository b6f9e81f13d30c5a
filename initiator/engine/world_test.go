package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

var (
	ours   = frame.MAC{2, 0, 0, 0, 0, 1}
	theirs = frame.MAC{2, 0, 0, 0, 0, 2}
	disk   = frame.Addr{Shelf: 1, Slot: 1}

	onePath = []Path{{Local: ours, Remote: theirs, Proven: true}}
)

// identityOf is what a target's disk is pinned by.
func identityOf(t *initiatortest.Target) Identity {
	return ReadIdentity(t.Identify().Append(nil))
}

// newTarget is the disk that the tests use.
func newTarget(cfg initiatortest.Config) *initiatortest.Target {
	cfg.Addr, cfg.MAC = disk, theirs
	return initiatortest.New(cfg)
}

// A world is an engine on a virtual clock and a target that answers when the
// test says so.
type world struct {
	t      testing.TB
	now    time.Duration
	engine *Engine
	target *initiatortest.Target
	sent   [][]byte // drained, not yet delivered
	ended  []*Request
}

func newWorld(t testing.TB, cfg Config, target initiatortest.Config) *world {
	t.Helper()
	w := &world{t: t, target: newTarget(target)}
	cfg.Addr = disk
	if cfg.Paths == nil {
		cfg.Paths = onePath
	}
	cfg.Identity = identityOf(w.target)
	if cfg.Rand == nil {
		cfg.Rand = rand.NewPCG(1, 2)
	}
	if cfg.Buffers == 0 {
		cfg.Buffers = 64
	}
	if cfg.Probe == 0 {
		cfg.Probe = -1
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.engine = e
	e.Start(0)
	return w
}

// request is one operation in frames of at most 8 sectors, with fill as the
// data of a write.
func request(kind Kind, lba, sectors uint64, fill byte) *Request {
	r := &Request{Kind: kind, LBA: lba, Sectors: sectors}
	h := frame.Header{Addr: disk}
	if kind == Flush {
		b := frame.NewATA(frame.OpFlush, 0, 0).Append(h.Append(nil))
		r.Frames = []Frame{{Transmit: frame.Pad(b)}}
		return r
	}
	if kind == Trim {
		a := frame.NewATA(frame.OpTrim, 0, 1)
		a.Feature = frame.FeatureTrim
		b := frame.TrimRange{LBA: lba, Sectors: uint16(sectors)}.Append(a.Append(h.Append(nil)))
		b = append(b, make([]byte, frame.SectorSize-frame.TrimRangeLen)...)
		r.Frames = []Frame{{Transmit: b, LBA: lba, Sectors: sectors}}
		return r
	}
	for sectors > 0 {
		n := min(sectors, 8)
		op := frame.OpReadExt
		if kind == Write {
			op = frame.OpWriteExt
		}
		b := frame.NewATA(op, lba, uint8(n)).Append(h.Append(nil))
		if kind == Write {
			b = append(b, bytes.Repeat([]byte{fill}, int(n)*frame.SectorSize)...)
		}
		r.Frames = append(r.Frames, Frame{Transmit: frame.Pad(b), LBA: lba, Sectors: n})
		lba, sectors = lba+n, sectors-n
	}
	return r
}

// turn does what an owner does without receiving: timers, results, sending.
// What is sent is cloned into w.sent.
func (w *world) turn() {
	w.t.Helper()
	w.engine.Advance(w.now)
	for r := w.engine.Completed(); r != nil; r = w.engine.Completed() {
		w.ended = append(w.ended, r)
	}
	out := make([][]byte, 4)
	for n := w.engine.Drain(w.now, 0, out); n > 0; n = w.engine.Drain(w.now, 0, out) {
		for _, b := range out[:n] {
			w.sent = append(w.sent, bytes.Clone(b))
		}
	}
	if d := w.engine.Deadline(); d <= w.now {
		w.t.Fatalf("deadline %v is not after now, %v: an owner would spin", d, w.now)
	}
}

func (w *world) submit(r *Request) *Request {
	w.engine.Submit(w.now, r)
	w.turn()
	return r
}

// take is the only frame sent since the last take.
func (w *world) take() []byte {
	w.t.Helper()
	if len(w.sent) != 1 {
		w.t.Fatalf("%d frames were sent, want 1", len(w.sent))
	}
	b := w.sent[0]
	w.sent = nil
	return b
}

// none checks that nothing was sent since the last take.
func (w *world) none(why string) {
	w.t.Helper()
	if len(w.sent) != 0 {
		w.t.Fatalf("%s: sent %s", why, frame.Describe(w.sent[0]))
	}
}

// wait lets time pass, up to a moment after the given duration, with a turn at
// each deadline.
func (w *world) wait(d time.Duration) {
	w.t.Helper()
	end := w.now + d
	for w.engine.Deadline() <= end {
		w.now = max(w.now, w.engine.Deadline())
		w.turn()
	}
	w.now = end
	w.turn()
}

// answer delivers a request to the target and its replies to the engine.
func (w *world) answer(b []byte) {
	w.t.Helper()
	for _, reply := range w.target.Answer(b) {
		w.receive(reply)
	}
	w.turn()
}

func (w *world) receive(reply []byte) (*Request, int) {
	r, i := w.engine.Receive(w.now, 0, reply)
	w.turn()
	return r, i
}

// answerAll answers until nothing more is sent.
func (w *world) answerAll() {
	w.t.Helper()
	for len(w.sent) > 0 {
		b := w.sent[0]
		w.sent = w.sent[1:]
		w.answer(b)
	}
}

// outcome checks that r has ended, and how.
func (w *world) outcome(r *Request, want Outcome) {
	w.t.Helper()
	for _, q := range w.ended {
		if q == r {
			if got := r.Outcome(); got != want {
				w.t.Fatalf("request ended with %+v, want %+v", got, want)
			}
			return
		}
	}
	w.t.Fatal("request has not ended")
}

func (w *world) unfinished(r *Request, why string) {
	w.t.Helper()
	for _, q := range w.ended {
		if q == r {
			w.t.Fatalf("request has ended with %+v, but %s", r.Outcome(), why)
		}
	}
}

func tagOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[frame.TagOffset:]) }

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
