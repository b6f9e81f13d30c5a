package linktest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

var (
	macA = frame.MAC{2, 0, 0, 0, 0, 1}
	macB = frame.MAC{2, 0, 0, 0, 0, 2}
	macC = frame.MAC{2, 0, 0, 0, 0, 3}
)

func TestTheSwitchConforms(t *testing.T) {
	var a *Port
	Conformance{
		Open: func(t *testing.T) (link.Link, link.Link) {
			sw := NewSwitch(Config{})
			a = sw.Port(macA)
			return a, sw.Port(macB)
		},
		Flap:   func(_ *testing.T, up bool) { a.SetUp(up) },
		Shrink: func(_ *testing.T, mtu int) { a.SetMTU(mtu) },
	}.Run(t)
}

func TestTheSwitchConformsWithPadding(t *testing.T) {
	Conform(t, func(t *testing.T) (link.Link, link.Link) {
		sw := NewSwitch(Config{Pad: true, MTU: 9000})
		return sw.Port(macA), sw.Port(macB)
	})
}

// manual is a switch whose time is moved by the test, and its ports.
func manual(cfg Config) (sw *Switch, a, b *Port) {
	cfg.Manual = true
	sw = NewSwitch(cfg)
	return sw, sw.Port(macA), sw.Port(macB)
}

// arrived are the tags that can be received from l now.
func arrived(t *testing.T, l link.Link) (tags []uint32) {
	t.Helper()
	for bufs := buffers(4, 10000); ; {
		n, err := l.Recv(bufs, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return tags
		}
		for _, f := range bufs[:n] {
			h, _, err := frame.Parse(f)
			if err != nil {
				t.Fatal(err)
			}
			tags = append(tags, h.Tag)
		}
	}
}

func sendTags(t *testing.T, from link.Link, dst frame.MAC, first, count int) {
	t.Helper()
	for i := range count {
		if _, err := from.Send([][]byte{makeFrame(dst, from.State().MAC, 60, first+i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func wantTags(t *testing.T, what string, got []uint32, want ...uint32) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: received %v, want %v", what, got, want)
	}
}

func TestTimeStandsStillExceptInStep(t *testing.T) {
	sw, a, b := manual(Config{Faults: Faults{Delay: 5 * time.Millisecond}})
	sendTags(t, a, macB, 1, 2)
	wantTags(t, "at once", arrived(t, b))
	if due, ok := sw.Next(); !ok || due != 5*time.Millisecond {
		t.Errorf("the next frame is due at %v, %v", due, ok)
	}
	sw.Step(5*time.Millisecond - 1)
	sendTags(t, a, macB, 3, 1)
	wantTags(t, "a nanosecond early", arrived(t, b))
	sw.Step(5 * time.Millisecond)
	wantTags(t, "when due", arrived(t, b), 1, 2)
	sw.Step(time.Second)
	wantTags(t, "later", arrived(t, b), 3)
	if _, ok := sw.Next(); ok {
		t.Error("a frame is on its way that nobody sent")
	}
	// Recv does not wait, or a simulation on one goroutine would hang.
	if n, err := b.Recv(buffers(1, 100), -1); n != 0 || err != nil {
		t.Errorf("Recv = %d, %v", n, err)
	}
}

func TestOneSeedReplays(t *testing.T) {
	run := func(seed uint64) string {
		sw, a, b := manual(Config{Seed: seed, Faults: Faults{Loss: 0.2, Duplicate: 0.2, Reorder: 0.5, Hold: 10 * time.Millisecond}})
		log := ""
		for i := range 100 {
			sendTags(t, a, macB, i, 1)
			sw.Step(time.Duration(i) * time.Millisecond)
			log += fmt.Sprint(arrived(t, b))
		}
		return log
	}
	seed := rand.Uint64()
	if first, again := run(seed), run(seed); first != again {
		t.Errorf("seed %d: two runs differ", seed)
	}
	if run(seed) == run(seed+1) {
		t.Errorf("seeds %d and %d: two runs are the same", seed, seed+1)
	}
}

func TestFaultsHappenAsOftenAsAsked(t *testing.T) {
	const frames = 4000
	for _, test := range []struct {
		name   string
		faults Faults
		count  func(*Switch, []uint32) int
	}{
		{"loss", Faults{Loss: 0.25}, func(sw *Switch, got []uint32) int { return frames - len(got) }},
		{"duplication", Faults{Duplicate: 0.25}, func(sw *Switch, got []uint32) int { return len(got) - frames }},
		{"reordering", Faults{Reorder: 0.25}, func(_ *Switch, got []uint32) int {
			late, newest := 0, uint32(0)
			for _, tag := range got {
				if tag < newest {
					late++
				}
				newest = max(newest, tag)
			}
			return late
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			seed := rand.Uint64()
			sw, a, b := manual(Config{Seed: seed, Faults: test.faults, Queue: 3 * frames})
			sendTags(t, a, macB, 0, frames)
			sw.Step(DefaultHold)
			got := test.count(sw, arrived(t, b))
			if got < frames/5 || got > frames*3/10 {
				t.Errorf("seed %d: %d of %d frames", seed, got, frames)
			}
		})
	}
}

func TestGroupsGoToAllOthers(t *testing.T) {
	sw, a, b := manual(Config{})
	c, second := sw.Port(macC), sw.Port(macA)
	sendTags(t, a, frame.Broadcast, 1, 1)
	sendTags(t, a, frame.MAC{1, 0, 0x5e, 0, 0, 1}, 2, 1)
	sendTags(t, a, macC, 3, 1)
	sendTags(t, b, macA, 4, 1)
	wantTags(t, "sender", arrived(t, a), 4)
	wantTags(t, "second port with the sender's address", arrived(t, second), 4)
	wantTags(t, "b", arrived(t, b), 1, 2)
	wantTags(t, "c", arrived(t, c), 1, 2, 3)
	sendTags(t, a, frame.MAC{2, 9}, 5, 1)
	if s := sw.Stats(); s.Unknown != 1 {
		t.Errorf("stats %+v: want one frame to nobody", s)
	}
}

func TestACutHasADirection(t *testing.T) {
	sw, a, b := manual(Config{})
	c := sw.Port(macC)
	sw.Cut(macA, macB)
	sendTags(t, a, macB, 1, 1)
	sendTags(t, b, macA, 2, 1)
	wantTags(t, "cut", arrived(t, b))
	wantTags(t, "the other direction", arrived(t, a), 2)
	sw.Heal()
	sendTags(t, a, macB, 3, 1)
	wantTags(t, "healed", arrived(t, b), 3)

	sw.Partition(macA, macC)
	sendTags(t, a, frame.Broadcast, 4, 1)
	sendTags(t, b, frame.Broadcast, 5, 1)
	wantTags(t, "inside the partition", arrived(t, c), 4)
	wantTags(t, "outside", arrived(t, b))
	wantTags(t, "inside, from outside", arrived(t, a))
	if s := sw.Stats(); s.Cut != 1+1+2 {
		t.Errorf("stats %+v: want 4 frames cut", s)
	}
}

func TestAClogLosesWhatDoesNotFit(t *testing.T) {
	sw, a, b := manual(Config{Queue: 3})
	sendTags(t, a, macB, 1, 5)
	wantTags(t, "full queue", arrived(t, b), 1, 2, 3)
	b.Clog(0)
	sendTags(t, a, macB, 6, 1)
	b.Clog(1)
	sendTags(t, a, macB, 7, 2)
	b.Clog(-1)
	sendTags(t, a, macB, 9, 1)
	wantTags(t, "clogged", arrived(t, b), 7, 9)
	if s := b.Stats(); s.KernelDropped != 4 || sw.Stats().Overflowed != 4 {
		t.Errorf("stats %+v and %+v: want 4 frames dropped", s, sw.Stats())
	}
}

func TestAScriptDecides(t *testing.T) {
	sw, a, b := manual(Config{})
	sw.SetScript(func(from, to frame.MAC, f []byte, drawn Fate) Fate {
		if from != macA || to != macB {
			t.Errorf("script was asked about %v to %v", from, to)
		}
		switch h, _, _ := frame.Parse(f); h.Tag {
		case 1:
			drawn.Lost = true
		case 2:
			drawn.Delay = time.Second
		case 3:
			drawn.Twice, drawn.SecondDelay = true, time.Minute
		}
		return drawn
	})
	sendTags(t, a, macB, 1, 4)
	wantTags(t, "at once", arrived(t, b), 3, 4)
	sw.Step(time.Second)
	wantTags(t, "after a second", arrived(t, b), 2)
	sw.Step(time.Minute)
	wantTags(t, "after a minute", arrived(t, b), 3)
	sw.SetScript(nil)
	sendTags(t, a, macB, 1, 1)
	wantTags(t, "without the script", arrived(t, b), 1)
}

func TestEveryPortHasItsMTU(t *testing.T) {
	sw, a, b := manual(Config{MTU: 9000})
	b.SetMTU(1500)
	big := makeFrame(macB, macA, 1515, 1)
	if n, _ := a.Send([][]byte{big, big[:1514]}); n != 2 {
		t.Errorf("Send = %d, want both", n)
	}
	wantTags(t, "at the smaller port", arrived(t, b), 1)
	if s := sw.Stats(); s.Oversize != 1 {
		t.Errorf("stats %+v: want one frame too long", s)
	}
}

func TestPaddingIsZeros(t *testing.T) {
	_, a, b := manual(Config{Pad: true})
	long := makeFrame(macB, macA, 1000, 1)
	a.Send([][]byte{long})
	arrived(t, b) // its buffer, full of something, is used again
	short := makeFrame(macB, macA, 32, 2)
	a.Send([][]byte{short})
	bufs := buffers(1, 100)
	if n, err := b.Recv(bufs, 0); n != 1 || err != nil || !bytes.Equal(bufs[0], frame.Pad(short)) {
		t.Errorf("received %x", bufs[0])
	}
}

func TestAPortThatWasDownForgets(t *testing.T) {
	sw, a, b := manual(Config{})
	sendTags(t, a, macB, 1, 1)
	b.SetUp(false)
	b.SetUp(false)
	sendTags(t, a, macB, 2, 1)
	b.SetUp(true)
	sendTags(t, a, macB, 3, 1)
	wantTags(t, "after the flap", arrived(t, b), 3)
	if s := b.Stats(); s.Flaps != 1 || b.State().Generation != 2 || sw.Stats().Down != 2 {
		t.Errorf("stats %+v, state %+v, %+v", s, b.State(), sw.Stats())
	}
}

// Inside a bubble time passes when all goroutines wait, so a delay of an hour
// takes no time, and is exact.
func TestTheSwitchRunsOnAFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := NewSwitch(Config{Faults: Faults{Delay: time.Hour}})
		a, b := sw.Port(macA), sw.Port(macB)
		start := time.Now()
		sendTags(t, a, macB, 1, 1)
		n, err := b.Recv(buffers(1, 100), 30*time.Minute)
		if n != 0 || err != nil || time.Since(start) != 30*time.Minute {
			t.Errorf("Recv = %d, %v after %v", n, err, time.Since(start))
		}
		n, err = b.Recv(buffers(1, 100), -1)
		if n != 1 || err != nil || time.Since(start) != time.Hour {
			t.Errorf("Recv = %d, %v after %v", n, err, time.Since(start))
		}
		go func() {
			time.Sleep(time.Second)
			b.Close()
		}()
		if _, err := b.Recv(buffers(1, 100), -1); !errors.Is(err, net.ErrClosed) || time.Since(start) != time.Hour+time.Second {
			t.Errorf("Recv = %v after %v", err, time.Since(start))
		}
	})
}

func TestMistakesPanic(t *testing.T) {
	sw, _, _ := manual(Config{})
	sw.Step(time.Second)
	for name, f := range map[string]func(){
		"probability above 1": func() { NewSwitch(Config{Faults: Faults{Loss: 1.1}}) },
		"negative hold":       func() { sw.SetFaults(Faults{Hold: -1}) },
		"negative MTU":        func() { NewSwitch(Config{MTU: -1}) },
		"step back in time":   func() { sw.Step(0) },
		"step of real time":   func() { NewSwitch(Config{}).Step(0) },
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
