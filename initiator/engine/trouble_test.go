package engine

import (
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"

	"github.com/mdlayher/aoe"
)

// TestDeadTime: a silent target is down after the dead time, everything fails,
// and when it answers again, it is up.
func TestDeadTime(t *testing.T) {
	w := newWorld(t, Config{DeadTime: 30 * time.Second}, initiatortest.Config{})
	flying := w.submit(request(Write, 0, 8, 1))
	ordered := w.submit(request(Read, 0, 8, 0))
	w.wait(29 * time.Second)
	w.unfinished(flying, "the dead time has not passed")
	w.wait(time.Second)
	w.outcome(flying, Outcome{Result: Down})
	w.outcome(ordered, Outcome{Result: Down})
	if since, on := w.engine.Trouble(Dead); !on || since != 30*time.Second {
		t.Errorf("dead: %v since %v", on, since)
	}
	late := w.submit(request(Read, 8, 8, 0))
	w.outcome(late, Outcome{Result: Down, LBA: 8})

	w.sent = nil
	w.wait(2 * time.Second)
	w.answerAll()
	if _, on := w.engine.Trouble(Dead); on {
		t.Fatal("still dead after it has answered")
	}
	again := w.submit(request(Read, 8, 8, 0))
	w.answerAll()
	w.outcome(again, Outcome{})
	checkQuiet(t, w.engine, false)
}

func TestDeadTimeForEver(t *testing.T) {
	w := newWorld(t, Config{DeadTime: -1}, initiatortest.Config{})
	r := w.submit(request(Write, 0, 8, 1))
	w.wait(24 * time.Hour)
	w.unfinished(r, "it may wait for ever")
	if n := len(w.sent); n > 100000 {
		t.Errorf("%d frames in a day: more than about one a second", n)
	}
	w.sent = w.sent[len(w.sent)-1:]
	w.answerAll()
	w.outcome(r, Outcome{})
}

// TestOneUnansweredRequest: a request that nobody answers fails alone while
// others are answered.
func TestOneUnansweredRequest(t *testing.T) {
	w := newWorld(t, Config{DeadTime: 10 * time.Second}, initiatortest.Config{})
	bad := w.submit(request(Read, 0, 8, 0))
	w.sent = nil
	for w.now < 11*time.Second {
		good := w.submit(request(Read, 800, 8, 0))
		sent := w.sent
		w.sent = nil
		for _, b := range sent {
			if a, _, _ := frame.ParseATA(b[frame.HeaderLen:]); a.Op == frame.OpReadExt && a.LBA == 0 {
				continue // lost, always
			}
			w.answer(b)
		}
		w.outcome(good, Outcome{})
		w.ended = append(w.ended[:0:0], keep(w.ended, bad)...)
		w.wait(100 * time.Millisecond)
	}
	w.outcome(bad, Outcome{Result: Unanswered})
	if w.engine.down() {
		t.Error("the disk is down, though it answers")
	}
}

func keep(all []*Request, r *Request) []*Request {
	for _, q := range all {
		if q == r {
			return []*Request{r}
		}
	}
	return nil
}

// TestIdleDiskNoticesDeath: probes find a dead target while nothing is read,
// and measure the network while one is there.
func TestIdleDiskNoticesDeath(t *testing.T) {
	w := newWorld(t, Config{Probe: 10 * time.Second, DeadTime: 60 * time.Second}, initiatortest.Config{})
	for range 5 {
		w.wait(10 * time.Second)
		w.now += 80 * time.Microsecond
		w.answer(w.take())
	}
	if g := w.engine.Gauges(); g.Network.Samples != 5 || g.Network.Smooth != 80*time.Microsecond {
		t.Errorf("network: %+v", g.Network)
	}
	w.wait(15 * time.Second)
	if _, on := w.engine.Trouble(Silent); !on {
		t.Error("not silent after 5 s without an answer")
	}
	w.wait(65 * time.Second)
	if _, on := w.engine.Trouble(Dead); !on {
		t.Error("not dead after 60 s without an answer")
	}
}

// TestH19LinkFlap: what was lost with the port is sent again as soon as it is
// back and the disk has shown that it is the same.
func TestH19LinkFlap(t *testing.T) {
	w := newWorld(t, Config{DeadTime: -1, FrameLen: frame.ATADataOffset + 8*frame.SectorSize}, initiatortest.Config{})
	w.engine.LinkChanged(0, 0, ours, false, 255)
	r := w.submit(request(Write, 0, 8, 1))
	w.wait(10 * time.Second)
	if _, on := w.engine.Trouble(LinkDown); !on {
		t.Error("the port being down is no trouble")
	}
	w.sent = nil
	other := frame.MAC{2, 0, 0, 0, 0, 9}
	w.engine.LinkChanged(w.now, 0, other, true, 2)
	w.turn()
	if h, _, _ := frame.Parse(w.sent[0]); h.Src != other {
		t.Errorf("sent from %v, the port is %v now", h.Src, other)
	}
	w.answerAll()
	w.outcome(r, Outcome{})
	if _, on := w.engine.Trouble(LinkDown); on {
		t.Error("still down")
	}
	if _, on := w.engine.Trouble(SmallMTU); !on {
		t.Error("the MTU being too small is no trouble")
	}
}

// TestControlFramesAreForgiving: damaged and foreign answers to control frames
// are no answers, and IDENTIFY data that changes nothing changes nothing.
func TestControlFramesAreForgiving(t *testing.T) {
	w := newWorld(t, Config{Probe: time.Second}, initiatortest.Config{})
	w.wait(time.Second)
	b := w.take()
	short := w.target.Answer(b)[0][:frame.HeaderLen+4]
	w.receive(short)
	refused := append([]byte(nil), b...)
	frame.ReplyError(refused, theirs, disk, aoe.ErrorBadArgumentParameter)
	w.receive(refused)
	if c := w.engine.Counters(); c.Drops.Truncated != 2 {
		t.Errorf("counters: %+v", c)
	}
	if w.engine.paths[0].control.phase != asking {
		t.Error("what was no answer ended the question")
	}
	w.answer(b)
	if w.engine.paths[0].control.phase != idle {
		t.Error("the answer did not end the question")
	}

	w.receive(w.target.Announcement())
	w.answer(w.take())
	identify := w.take()
	w.receive(w.target.Answer(identify)[0][:400])
	if w.engine.paths[0].control.phase != identifying {
		t.Error("half an IDENTIFY is taken for one")
	}
	w.answer(identify)
	if w.engine.paths[0].control.suspended || w.engine.Counters().Resizes != 0 {
		t.Error("still suspended, or resized without reason")
	}
}

// TestReadIdentityAgreesWithFrame: the reader that does not allocate sees what
// the other sees.
func TestReadIdentityAgreesWithFrame(t *testing.T) {
	for _, id := range []frame.Identify{
		{Serial: "a", Sectors: 1},
		{Serial: "12345678901234567890", Sectors: 1 << 33},
		{Serial: "old", Sectors: 1<<28 - 1, LBA28: true},
	} {
		data := id.Append(nil)
		want, err := frame.ParseIdentify(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := ReadIdentity(data); got.Sectors != want.Sectors {
			t.Errorf("%+v: %d sectors, want %d", id, got.Sectors, want.Sectors)
		}
		other := id
		other.Serial += "x"
		if len(other.Serial) <= frame.SerialLen && ReadIdentity(other.Append(nil)).Serial == ReadIdentity(data).Serial {
			t.Errorf("%q and %q are the same", id.Serial, other.Serial)
		}
	}
}

// TestSlotsUsedUpByFences: when fences hold all slots but the control frames'
// one, data waits for one of them.
func TestSlotsUsedUpByFences(t *testing.T) {
	w := newWorld(t, Config{Slots: 8, Window: 4, RTOFirst: ms(5), RTOMin: ms(5), FrameLife: ms(300), Overtake: -1, Silence: time.Hour}, initiatortest.Config{})
	for i := range 8 {
		r := w.submit(request(Write, uint64(i*8), 8, 1))
		for w.engine.fence.up == i && i < 6 {
			w.wait(ms(5))
			if len(w.sent) >= 2 {
				w.answer(w.sent[len(w.sent)-1])
				w.outcome(r, Outcome{})
			}
		}
		if i < 6 {
			w.sent = nil
		}
	}
	w.none("six fences and a spare slot are all eight but slot 0")
	if w.engine.Counters().NoSlot == 0 {
		t.Error("that there was no slot is not counted")
	}
	w.wait(ms(400))
	if len(w.sent) == 0 {
		t.Error("nothing is sent after the fences have gone")
	}
}

// TestPoisonFrameDoesNotStarveOthers: one frame is never answered, and the
// target has room for one.
func TestPoisonFrameDoesNotStarveOthers(t *testing.T) {
	w := newWorld(t, Config{DeadTime: -1, Buffers: 1, Silence: time.Hour}, initiatortest.Config{Buffers: 1})
	w.submit(request(Read, 0, 8, 0))
	const good = 50
	for i := range good {
		w.submit(request(Read, uint64(100+i), 1, 0))
	}
	for w.now < 60*time.Second && len(w.ended) < good {
		sent := w.sent
		w.sent = nil
		for _, b := range sent {
			if a, _, _ := frame.ParseATA(b[frame.HeaderLen:]); a.LBA != 0 {
				w.answer(b)
			}
		}
		if len(w.sent) == 0 {
			w.wait(max(w.engine.Deadline()-w.now, 0))
		}
	}
	if len(w.ended) < good {
		t.Errorf("%d of %d requests were answered in %v", len(w.ended), good, w.now)
	}
}
