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

// TestH1StaleWriteIsFenced: W1 is resent and its second copy answered; W2 to
// the same sectors waits until the first copy is answered or dead.
func TestH1StaleWriteIsFenced(t *testing.T) {
	overtake := time.Duration(-1)
	resent := func(t *testing.T) (w *world, first, second []byte) {
		w = newWorld(t, Config{RTOFirst: ms(10), FrameLife: ms(500), Overtake: overtake}, initiatortest.Config{})
		w1 := w.submit(request(Write, 0, 8, 1))
		first = w.take()
		w.wait(ms(10))
		second = w.take()
		w.answer(second)
		w.outcome(w1, Outcome{})
		if w.engine.Gauges().FencesUp != 1 {
			t.Fatal("a write with an unanswered copy leaves no fence")
		}
		return w, first, second
	}
	t.Run("the late copy arrives first", func(t *testing.T) {
		w, first, _ := resent(t)
		w2 := w.submit(request(Write, 4, 8, 2))
		w.none("a copy of W1 is under way")
		w.answer(first)
		w.answerAll()
		w.outcome(w2, Outcome{})
		if got := w.target.Bytes(4*512, 1)[0]; got != 2 {
			t.Errorf("the disk holds write %d, want 2", got)
		}
		checkQuiet(t, w.engine, false)
	})
	t.Run("the late copy is lost", func(t *testing.T) {
		w, _, _ := resent(t)
		w2 := w.submit(request(Trim, 7, 300, 0))
		w.wait(ms(489)) // the first copy was sent 10 ms ago
		w.none("a copy of W1 may be alive")
		w.wait(ms(1))
		w.answerAll()
		w.outcome(w2, Outcome{})
		checkQuiet(t, w.engine, false)
	})
	t.Run("the late copy was overtaken", func(t *testing.T) {
		overtake = ms(20)
		defer func() { overtake = -1 }()
		w, _, _ := resent(t) // the second copy has overtaken the first, and was answered
		w2 := w.submit(request(Write, 0, 1, 2))
		w.wait(ms(19))
		w.none("the first may still come")
		w.wait(ms(1))
		w.answerAll()
		w.outcome(w2, Outcome{})
		checkQuiet(t, w.engine, false)
	})
	t.Run("not overtaken yet", func(t *testing.T) {
		w := newWorld(t, Config{Overtake: ms(20)}, initiatortest.Config{})
		w1 := w.submit(request(Write, 0, 8, 1))
		w.take()
		w.engine.Cancel(w.now, w1)
		w2 := w.submit(request(Write, 0, 8, 2))
		w.wait(ms(100))
		w.none("nothing was answered that was sent after it")
		w.submit(request(Read, 800, 1, 0))
		w.answer(w.take())
		w.none("it may come within 20 ms")
		w.wait(ms(20))
		w.answerAll()
		w.outcome(w2, Outcome{})
	})
	t.Run("others pass", func(t *testing.T) {
		w, _, _ := resent(t)
		for _, r := range []*Request{request(Read, 0, 8, 0), request(Write, 8, 8, 2), request(Flush, 0, 0, 0)} {
			w.submit(r)
			w.answerAll()
			w.outcome(r, Outcome{})
		}
	})
	t.Run("the same answer twice is one copy", func(t *testing.T) {
		w, _, second := resent(t)
		w.answer(second)
		if w.engine.Gauges().FencesUp != 1 {
			t.Error("a duplicated answer took the fence down")
		}
	})
	t.Run("a write that failed", func(t *testing.T) {
		w := newWorld(t, Config{FrameLife: ms(500), Overtake: -1}, initiatortest.Config{})
		w1 := w.submit(request(Write, 0, 8, 1))
		w.take()
		w.engine.Cancel(w.now, w1)
		w2 := w.submit(request(Write, 0, 8, 2))
		w.none("the canceled W1 may still be executed")
		w.wait(ms(500))
		w.answerAll()
		w.outcome(w2, Outcome{})
	})
}

// TestH3OverlappingRequestsKeepTheirOrder: what the second of two requests does
// while the first is in flight.
func TestH3OverlappingRequestsKeepTheirOrder(t *testing.T) {
	for _, row := range []struct {
		name          string
		first, second *Request
		waits         bool
	}{
		{"write, write", request(Write, 0, 8, 1), request(Write, 7, 8, 2), true},
		{"write, read", request(Write, 0, 8, 1), request(Read, 0, 1, 0), true},
		{"read, write", request(Read, 0, 8, 0), request(Write, 4, 1, 2), true},
		{"read, trim", request(Read, 0, 8, 0), request(Trim, 0, 100, 0), true},
		{"read, read", request(Read, 0, 8, 0), request(Read, 0, 8, 0), false},
		{"write, its neighbour", request(Write, 0, 8, 1), request(Write, 8, 8, 2), false},
		{"write, flush", request(Write, 0, 8, 1), request(Flush, 0, 0, 0), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, Config{}, initiatortest.Config{})
			w.submit(row.first)
			first := w.take()
			w.submit(row.second)
			if row.waits {
				w.none("the second must wait for the first")
			} else {
				w.take()
			}
			if !row.waits {
				return
			}
			w.answer(first)
			w.answerAll()
			w.outcome(row.second, Outcome{})
		})
	}
	t.Run("three in a row", func(t *testing.T) {
		w := newWorld(t, Config{}, initiatortest.Config{})
		a := w.submit(request(Write, 0, 8, 1))
		b := w.submit(request(Write, 4, 8, 2))
		c := w.submit(request(Write, 8, 8, 3)) // overlaps b only
		w.answer(w.take())
		w.outcome(a, Outcome{})
		w.unfinished(c, "b is in flight")
		w.answer(w.take())
		w.outcome(b, Outcome{})
		w.answer(w.take())
		w.outcome(c, Outcome{})
	})
	t.Run("the middle one is canceled", func(t *testing.T) {
		w := newWorld(t, Config{}, initiatortest.Config{})
		w.submit(request(Write, 0, 8, 1))
		b := w.submit(request(Write, 4, 8, 2))
		c := w.submit(request(Write, 8, 8, 3))
		w.take()
		w.engine.Cancel(w.now, b)
		w.turn()
		w.answer(w.take())
		w.outcome(c, Outcome{})
	})
}

// TestH4TagsComeBackLate: a tag is used again only after all the others were,
// also when only one frame at a time is in flight, and bit 31 is never set.
func TestH4TagsComeBackLate(t *testing.T) {
	w := newWorld(t, Config{Slots: 8, Window: 4}, initiatortest.Config{})
	seen := map[uint32]bool{}
	r := request(Read, 0, 1, 0)
	for i := range 10000 {
		w.submit(r)
		b := w.take()
		tag := tagOf(b)
		if seen[tag] || tag == 0 || tag>>31 != 0 {
			t.Fatalf("read %d has tag %#x, which is taken or not for us", i, tag)
		}
		seen[tag] = true
		w.answer(b)
		w.outcome(r, Outcome{})
		w.ended = nil
	}
}

// TestH5ReplyToAnEarlierTransmission: each of three copies may be the one that
// is answered, and the round trip is measured from that copy.
func TestH5ReplyToAnEarlierTransmission(t *testing.T) {
	for answered := range 3 {
		w := newWorld(t, Config{RTOFirst: ms(10), RTOMin: ms(10)}, initiatortest.Config{})
		r := w.submit(request(Read, 0, 8, 0))
		w.wait(ms(10)) // second copy at 10 ms
		w.wait(ms(20)) // third copy at 30 ms
		if len(w.sent) != 3 || tagOf(w.sent[0]) == tagOf(w.sent[1]) || tagOf(w.sent[1]) == tagOf(w.sent[2]) {
			t.Fatalf("want three copies, each with a tag of its own, got %d", len(w.sent))
		}
		w.now = ms(31)
		w.answer(w.sent[answered])
		w.outcome(r, Outcome{})
		want := []time.Duration{ms(31), ms(21), ms(1)}[answered]
		if got := w.engine.Gauges().Read.Smooth; got != want {
			t.Errorf("copy %d answered: round trip %v, want %v", answered, got, want)
		}
		c := w.engine.Counters()
		if spurious := answered < 2; (c.Spurious == 1) != spurious {
			t.Errorf("copy %d answered: %d retransmissions in vain", answered, c.Spurious)
		}
		w.answer(w.sent[(answered+1)%3])
		if c := w.engine.Counters(); c.Drops.Late != 1 || c.Answered != 1 {
			t.Errorf("a second answer to a finished read: %+v", c)
		}
	}
}

// TestH6TimeoutsBackOff: each retransmission waits twice as long, up to the
// bound, and flushes have much longer timeouts of their own.
func TestH6TimeoutsBackOff(t *testing.T) {
	times := func(cfg Config, r *Request) (at []time.Duration) {
		cfg.Silence = time.Hour // of that below
		w := newWorld(t, cfg, initiatortest.Config{})
		w.submit(r)
		for w.now < time.Minute {
			for range w.sent {
				at = append(at, w.now)
			}
			w.sent = nil
			w.now = w.engine.Deadline()
			w.turn()
		}
		return at
	}
	at := times(Config{RTOFirst: ms(100), RTOMax: ms(1000)}, request(Read, 0, 8, 0))
	for i, want := range []time.Duration{0, ms(100), ms(300), ms(700), ms(1500), ms(2500), ms(3500)} {
		if at[i] != want {
			t.Errorf("copy %d of a read is sent at %v, want %v", i+1, at[i], want)
		}
	}
	at = times(Config{FlushRTO: ms(500)}, request(Flush, 0, 0, 0))
	for i, want := range []time.Duration{0, 2 * time.Second, 6 * time.Second, 14 * time.Second, 30 * time.Second} {
		if at[i] != want {
			t.Errorf("copy %d of a flush is sent at %v, want %v", i+1, at[i], want)
		}
	}
}

// TestH6ServiceTimeIsKeptApart: slow writes make neither reads nor the network
// look slow.
func TestH6ServiceTimeIsKeptApart(t *testing.T) {
	w := newWorld(t, Config{RTOMin: ms(1), RTOFirst: ms(200), Probe: time.Second}, initiatortest.Config{})
	w.wait(time.Second)
	w.now += ms(0.1)
	w.answerAll()
	for kind, took := range map[Kind]time.Duration{Read: ms(0.2), Write: ms(80), Flush: ms(1500)} {
		for range 20 {
			r := w.submit(request(kind, 0, 1, 0))
			b := w.sent[len(w.sent)-1]
			w.sent = nil // a probe may be among it
			w.now += took
			w.answer(b)
			w.outcome(r, Outcome{})
		}
	}
	g := w.engine.Gauges()
	if g.Network.Smooth != ms(0.1) || g.Read.Smooth != ms(0.2) || g.Write.Smooth != ms(80) || g.Flush.Smooth != ms(1500) {
		t.Errorf("round trips are mixed up: %+v", g)
	}
	if g.Read.Timeout != ms(1) || g.Write.Timeout < ms(80) || g.Flush.Timeout < ms(1500) {
		t.Errorf("timeouts are mixed up: %+v", g)
	}
	if c := w.engine.Counters(); c.Retransmitted != 0 {
		t.Errorf("%d retransmissions on a network that loses nothing", c.Retransmitted)
	}
}

// TestH11AnswersThatAreErrorsAreNotRetried: one frame, one answer, failed.
func TestH11AnswersThatAreErrorsAreNotRetried(t *testing.T) {
	for _, code := range []aoe.Error{1, 2, 3, 4, 5, 6} {
		w := newWorld(t, Config{}, initiatortest.Config{Faults: initiatortest.Faults{AoEError: code}})
		r := w.submit(request(Write, 16, 8, 1))
		w.answer(w.take())
		w.outcome(r, Outcome{Result: TargetError, Code: code, LBA: 16})
		w.wait(time.Minute)
		w.none("an error is an answer")
	}
	w := newWorld(t, Config{}, initiatortest.Config{Faults: initiatortest.Faults{ATAError: frame.ErrorUNC}})
	r := w.submit(request(Read, 16, 16, 0))
	w.answer(w.sent[1])
	w.outcome(r, Outcome{Result: ATAError, Status: frame.StatusDRDY | frame.StatusErr, Error: frame.ErrorUNC, LBA: 24})
	if c := w.engine.Counters(); c.ATAErrors != 1 || c.Failed != 1 {
		t.Errorf("counters: %+v", c)
	}
	checkQuiet(t, w.engine, false)
}

// TestH12SectorCountOfAnswersIsIgnored: status and length of the data decide.
func TestH12SectorCountOfAnswersIsIgnored(t *testing.T) {
	w := newWorld(t, Config{}, initiatortest.Config{Faults: initiatortest.Faults{BadCount: true}})
	for _, r := range []*Request{request(Read, 0, 8, 0), request(Write, 0, 8, 1), request(Flush, 0, 0, 0)} {
		w.submit(r)
		w.answerAll()
		w.outcome(r, Outcome{})
	}
	w.target.Change(func(c *initiatortest.Config) { c.Faults.Truncate = 1 })
	r := w.submit(request(Read, 0, 8, 0))
	w.answer(w.take())
	w.unfinished(r, "a byte of its data was missing")
	if c := w.engine.Counters(); c.Drops.Truncated != 1 {
		t.Errorf("counters: %+v", c)
	}
	w.target.Change(func(c *initiatortest.Config) { c.Faults.Truncate = 0 })
	w.wait(ms(2)) // the least timeout: reads were answered in no time
	w.answer(w.take())
	w.outcome(r, Outcome{})
}

// TestH14ForeignFramesTouchNothing: a frame that is wrong in one place is
// counted by that place and changes nothing; the right one then is accepted.
func TestH14ForeignFramesTouchNothing(t *testing.T) {
	for _, row := range []struct {
		name   string
		break_ func(b []byte)
		count  func(d Drops) uint64
	}{
		{"a request", func(b []byte) { b[14] &^= frame.FlagResponse }, func(d Drops) uint64 { return d.Request }},
		{"another version", func(b []byte) { b[14] = 2<<4 | frame.FlagResponse }, func(d Drops) uint64 { return d.Version }},
		{"own source", func(b []byte) { copy(b[6:], ours[:]) }, func(d Drops) uint64 { return d.Source }},
		{"unknown source", func(b []byte) { b[11]++ }, func(d Drops) uint64 { return d.Source }},
		{"not for us", func(b []byte) { b[5]++ }, func(d Drops) uint64 { return d.Destination }},
		{"broadcast", func(b []byte) { copy(b, frame.Broadcast[:]) }, func(d Drops) uint64 { return d.Destination }},
		{"another slot", func(b []byte) { b[18]++ }, func(d Drops) uint64 { return d.Address }},
		{"any slot", func(b []byte) { b[18] = frame.AnySlot }, func(d Drops) uint64 { return d.Address }},
		{"any shelf", func(b []byte) { b[16], b[17] = 0xff, 0xff }, func(d Drops) uint64 { return d.Address }},
		{"another command", func(b []byte) { b[19] = 1 }, func(d Drops) uint64 { return d.Command }},
		{"not AoE", func(b []byte) { b[12] = 8 }, func(d Drops) uint64 { return d.EtherType }},
		{"another slot's tag", func(b []byte) { b[23]++ }, func(d Drops) uint64 { return d.Tag }},
		{"bit 31 of the tag", func(b []byte) { b[20] |= 0x80 }, func(d Drops) uint64 { return d.Tag }},
		{"slot 0", func(b []byte) { b[22] &= 0xf0; b[23] = 0 }, func(d Drops) uint64 { return d.Tag }},
		{"the generation before", func(b []byte) { frame.PutTag(b, tagOf(b)-1<<12) }, func(d Drops) uint64 { return d.Late }},
		{"the generation after", func(b []byte) { frame.PutTag(b, tagOf(b)+1<<12) }, func(d Drops) uint64 { return d.Tag }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, Config{}, initiatortest.Config{})
			r := w.submit(request(Read, 0, 8, 0))
			good := w.target.Answer(w.take())[0]
			bad := bytes.Clone(good)
			row.break_(bad)
			if got, _ := w.receive(bad); got != nil {
				t.Fatal("accepted")
			}
			w.unfinished(r, "no answer was right")
			if c := w.engine.Counters(); row.count(c.Drops) != 1 || c.Drops.Sum() != 1 || c.Answered != 0 {
				t.Errorf("counters: %+v", c)
			}
			if got, _ := w.receive(good); got != r {
				t.Error("the right answer is not accepted any more")
			}
		})
	}
	t.Run("every truncated prefix", func(t *testing.T) {
		w := newWorld(t, Config{}, initiatortest.Config{})
		r := w.submit(request(Read, 0, 2, 0))
		good := w.target.Answer(w.take())[0]
		for n := range len(good) {
			if got, _ := w.receive(good[:n:n]); got != nil {
				t.Fatalf("%d of %d bytes accepted", n, len(good))
			}
		}
		if got, _ := w.receive(append(bytes.Clone(good), 1, 2, 3)); got != r {
			t.Error("trailing bytes are not accepted")
		}
	})
}

// TestH15IdentityIsProvenAfterSilence: whoever answers after a silence has to
// be the disk that was pinned before data is sent again.
func TestH15IdentityIsProvenAfterSilence(t *testing.T) {
	silent := func(t *testing.T) (*world, *Request) {
		w := newWorld(t, Config{DeadTime: -1, Silence: time.Second}, initiatortest.Config{})
		r := w.submit(request(Write, 0, 8, 1))
		w.wait(10 * time.Second)
		if _, on := w.engine.Trouble(Silent); !on {
			t.Error("the disk does not say that it is silent")
		}
		w.sent = nil
		w.wait(5 * time.Second)
		if n := len(w.sent); n < 3 || n > 10 {
			t.Errorf("a silent target was asked %d times in 5 s", n)
		}
		for _, b := range w.sent {
			if h, _, _ := frame.Parse(b); h.Command != aoe.CommandQueryConfigInformation {
				t.Errorf("sent to a silent target: %s", frame.Describe(b))
			}
		}
		w.sent = w.sent[len(w.sent)-1:]
		return w, r
	}
	t.Run("the same disk", func(t *testing.T) {
		w, r := silent(t)
		w.answerAll()
		w.outcome(r, Outcome{})
		if _, on := w.engine.Trouble(Silent); on {
			t.Error("still silent")
		}
	})
	t.Run("another disk", func(t *testing.T) {
		w, r := silent(t)
		w.target.Change(func(c *initiatortest.Config) { c.Serial = "impostor" })
		w.answerAll()
		w.outcome(r, Outcome{Result: Down})
		if w.target.Seen().Writes != 0 {
			t.Error("data was written to another disk")
		}
		next := w.submit(request(Read, 0, 1, 0))
		w.outcome(next, Outcome{Result: Down})
		w.wait(10 * time.Second)
		w.target.Change(func(c *initiatortest.Config) { c.Serial = "" })
		w.target.Change(func(c *initiatortest.Config) { c.Serial = "initiatortest" })
		w.answerAll()
		w.wait(2 * time.Second)
		w.answerAll()
		again := w.submit(request(Read, 0, 1, 0))
		w.answerAll()
		w.outcome(again, Outcome{})
	})
	t.Run("it refuses", func(t *testing.T) {
		w, r := silent(t)
		w.answer(w.take())
		b := w.take() // IDENTIFY
		frame.ReplyError(b, theirs, disk, aoe.ErrorDeviceUnavailable)
		w.receive(b)
		w.outcome(r, Outcome{Result: TargetError, Code: aoe.ErrorDeviceUnavailable})
		next := w.submit(request(Read, 9, 1, 0))
		w.outcome(next, Outcome{Result: TargetError, Code: aoe.ErrorDeviceUnavailable})
	})
}

// TestH16AnnouncementsAreNoticed: after one, data waits for an IDENTIFY, which
// tells the new size.
func TestH16AnnouncementsAreNoticed(t *testing.T) {
	w := newWorld(t, Config{}, initiatortest.Config{})
	w.target.Change(func(c *initiatortest.Config) { c.Sectors, c.Buffers = 4096, 5 })
	w.receive(w.target.Announcement())
	r := w.submit(request(Read, 0, 8, 0))
	if h, _, _ := frame.Parse(w.sent[0]); h.Command != aoe.CommandQueryConfigInformation || len(w.sent) != 1 {
		t.Fatalf("after an announcement is sent: %s", frame.Describe(w.sent[0]))
	}
	w.answerAll()
	w.outcome(r, Outcome{})
	if w.engine.Sectors() != 4096 || w.engine.Gauges().Buffers != 5 {
		t.Errorf("%d sectors and %d buffers, want 4096 and 5", w.engine.Sectors(), w.engine.Gauges().Buffers)
	}
	if c := w.engine.Counters(); c.Resizes != 1 || c.Suspensions != 1 || c.Drops.Announce != 1 {
		t.Errorf("counters: %+v", c)
	}

	// More of them, forged perhaps, hold nothing back for a second.
	w.target.Change(func(c *initiatortest.Config) { c.Sectors = 1024 })
	for range 100 {
		w.receive(w.target.Announcement())
	}
	w.none("the identity was proven a moment ago")
	w.wait(time.Second)
	w.answerAll()
	if _, on := w.engine.Trouble(Shrunk); !on || w.engine.Sectors() != 1024 {
		t.Errorf("shrunk: %v, %d sectors", on, w.engine.Sectors())
	}
	forged := w.target.Announcement()
	forged[11]++
	w.receive(forged)
	if c := w.engine.Counters(); c.Drops.Source != 1 || c.Suspensions != 1 {
		t.Errorf("an announcement of another station: %+v", c)
	}
}

// TestH22TagsAreRandom: two engines with different randomness share no tag to
// begin with; a blind forger hits nothing.
func TestH22TagsAreRandom(t *testing.T) {
	w := newWorld(t, Config{Rand: rand.NewPCG(3, 4)}, initiatortest.Config{})
	for range 64 {
		w.submit(request(Read, 0, 8, 0))
	}
	forged := w.target.Answer(w.sent[0])[0]
	rng := rand.New(rand.NewPCG(5, 6))
	for range 100000 {
		frame.PutTag(forged, rng.Uint32()>>1)
		if r, _ := w.engine.Receive(w.now, 0, forged); r != nil {
			t.Fatal("a random tag hit: 64 of 2^31 are live")
		}
	}
	if d := w.engine.Counters().Drops; d.Tag+d.Late != 100000 {
		t.Errorf("counted: %+v", d)
	}
}
