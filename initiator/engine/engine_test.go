package engine

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// TestARead walks one read through the engine, byte by byte.
func TestARead(t *testing.T) {
	w := newWorld(t, Config{}, initiatortest.Config{})
	r := w.submit(request(Read, 0x123, 2, 0))
	b := w.take()

	const want = "020000000002" + "020000000001" + "88a2" + // to, from, AoE
		"10" + "00" + "0001" + "01" + "00" + // version 1, no error, e1.1, ATA
		"5ec6c001" + // slot 1 and a random generation
		"40" + "00" + "02" + "24" + "230100000000" + "0000" + // LBA48, 2 sectors, READ EXT, little-endian LBA
		"000000000000000000000000000000000000000000000000" // padded to 60 bytes
	if got := hex.EncodeToString(b); got != want {
		t.Fatalf("sent\n%s, want\n%s", got, want)
	}

	w.now += 100 * time.Microsecond
	replies := w.target.Answer(b)
	got, i := w.receive(replies[0])
	if got != r || i != 0 {
		t.Fatalf("the answer is taken for frame %d of %p, want frame 0 of %p", i, got, r)
	}
	w.outcome(r, Outcome{})
	if d := w.engine.Deadline(); d == Never {
		t.Error("the timer of an answered frame is not taken back: it must still be there")
	}
	w.wait(time.Minute)
	w.none("nothing is outstanding")
	if d := w.engine.Deadline(); d != Never {
		t.Errorf("an idle engine waits until %v", d)
	}
	if g := w.engine.Gauges(); g.Read.Smooth != 100*time.Microsecond || g.InFlight != 0 {
		t.Errorf("gauges after one read: %+v", g)
	}
	if c := w.engine.Counters(); c.Requests != 1 || c.Sent != 1 || c.Answered != 1 || c.Failed != 0 || c.Drops.Sum() != 0 {
		t.Errorf("counters after one read: %+v", c)
	}
}

// TestManyFrames: a request of several frames ends with the last answer,
// whatever their order.
func TestManyFrames(t *testing.T) {
	w := newWorld(t, Config{}, initiatortest.Config{})
	r := w.submit(request(Write, 8, 24, 7))
	sent := w.sent
	w.sent = nil
	if len(sent) != 3 {
		t.Fatalf("%d frames sent for 24 sectors, want 3", len(sent))
	}
	w.answer(sent[2])
	w.answer(sent[0])
	w.unfinished(r, "one frame is not answered")
	w.answer(sent[1])
	w.outcome(r, Outcome{})
}

func TestKindsReachTheDisk(t *testing.T) {
	w := newWorld(t, Config{}, initiatortest.Config{})
	for _, r := range []*Request{
		request(Write, 3, 5, 0xaa), request(Flush, 0, 0, 0), request(Trim, 4, 2, 0), request(Read, 3, 5, 0),
	} {
		w.submit(r)
		w.answerAll()
		w.outcome(r, Outcome{})
	}
	if s := w.target.Seen(); s.Writes != 1 || s.Flushes != 1 || s.Trims != 1 || s.Reads != 1 {
		t.Errorf("the target saw %+v", s)
	}
}

func TestCancel(t *testing.T) {
	for _, where := range []string{"ready", "in flight", "lost", "blocked", "fenced off"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t, Config{Window: 1}, initiatortest.Config{})
			first := w.submit(request(Write, 0, 8, 1))
			r := request(Write, 100, 8, 2)
			switch where {
			case "ready":
				w.submit(r)
			case "in flight":
				r = first
			case "lost":
				r = first
				w.engine.Submit(w.now, request(Read, 500, 1, 0)) // takes the window
				w.now = w.engine.Deadline()
				w.engine.Advance(w.now)
			case "blocked":
				r = request(Write, 4, 8, 2)
				w.submit(r)
			case "fenced off":
				w.wait(150 * time.Millisecond) // first is sent again: one copy stays unanswered
				w.answer(w.sent[1])
				w.outcome(first, Outcome{})
				r = request(Write, 4, 8, 2)
				w.submit(r)
			}
			w.engine.Cancel(w.now, r)
			w.turn()
			w.outcome(r, Outcome{Result: Canceled, LBA: r.LBA})
			w.engine.Cancel(w.now, r) // once more does nothing
			w.ended = nil
			w.turn()
			if len(w.ended) != 0 {
				t.Error("canceled twice, ended twice")
			}
			w.sent = nil
			w.submit(request(Flush, 0, 0, 0))
			w.wait(5 * time.Second)
			w.answerAll()
			checkQuiet(t, w.engine, false)
		})
	}
}

// checkQuiet checks that an engine which waits for nothing has kept nothing.
func checkQuiet(t *testing.T, e *Engine, fencesMayStand bool) {
	t.Helper()
	if e.inFlight != 0 || e.paths[0].flight != [classes]slotList{} || e.lost.head != 0 || e.all.head != nil || e.ready.head != nil || e.held.head != nil {
		t.Errorf("left behind: %d in flight, lost %d, unfinished %p, ready %p, held %p",
			e.inFlight, e.lost.head, e.all.head, e.ready.head, e.held.head)
	}
	if !fencesMayStand && e.fence.up != 0 {
		t.Errorf("%d fences stand", e.fence.up)
	}
	free := e.table.freeCount + e.fence.up
	if e.paths[0].control.slot != 0 {
		free++
	}
	if free != len(e.table.slots)-1 {
		t.Errorf("%d slots are accounted for, of %d", free, len(e.table.slots)-1)
	}
}

func TestFailAll(t *testing.T) {
	w := newWorld(t, Config{Window: 2}, initiatortest.Config{})
	var all []*Request
	for i := range 5 {
		all = append(all, w.submit(request(Write, uint64(i*4), 8, 1))) // each overlaps the next
	}
	w.engine.FailAll(w.now, Closed)
	w.turn()
	for _, r := range all {
		w.outcome(r, Outcome{Result: Closed, LBA: r.LBA})
	}
	checkQuiet(t, w.engine, true)
	w.wait(2 * time.Second)
	checkQuiet(t, w.engine, false)
}

func TestMisuseIsDetected(t *testing.T) {
	w := newWorld(t, Config{}, initiatortest.Config{})
	r := w.submit(request(Read, 0, 1, 0))
	for name, f := range map[string]func(){
		"submitted twice": func() { w.engine.Submit(w.now, r) },
		"without frames":  func() { w.engine.Submit(w.now, &Request{Kind: Read}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Addr: disk, Paths: onePath, Rand: rand.NewPCG(0, 0)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"wildcard":           func(c *Config) { c.Addr = frame.Anywhere },
		"broadcast":          func(c *Config) { c.Paths = []Path{{Remote: frame.Broadcast, Proven: true}} },
		"no path":            func(c *Config) { c.Paths = nil },
		"no proven path":     func(c *Config) { c.Paths = []Path{{Remote: theirs}} },
		"no random source":   func(c *Config) { c.Rand = nil },
		"slots":              func(c *Config) { c.Slots = 1000 },
		"window":             func(c *Config) { c.Window = 4096 },
		"negative window":    func(c *Config) { c.Window = -1 },
		"negative RTO":       func(c *Config) { c.RTOMin = -1 },
		"RTOMin over RTOMax": func(c *Config) { c.RTOMin = time.Hour },
		"negative life":      func(c *Config) { c.FrameLife = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
