package engine

import (
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

const (
	hostA frame.Instance = 0xa
	hostB frame.Instance = 0xb
	hostC frame.Instance = 0xc
)

// newTargets is a disk that host A has, over the first path, and another has
// over the second.
func newTargets(t testing.TB, cfg Config, second frame.Instance) *pathWorld {
	t.Helper()
	cfg.Paths = []Path{{Port: 0, Local: ours, Remote: theirs, Proven: true}, {Port: 1, Local: ours2, Remote: theirs2}}
	w := &pathWorld{world: newWorld(t, cfg, initiatortest.Config{Instance: hostA}), instances: [2]frame.Instance{hostA, second}}
	w.settle()
	return w
}

// settle answers what is asked, on both paths, until nothing is sent any more.
func (w *pathWorld) settle() {
	w.t.Helper()
	w.turn()
	for len(w.out[0])+len(w.out[1]) > 0 {
		w.now += ms(0.1)
		w.answer(0)
		w.answer(1)
	}
}

// pass lets time go by, with what is sent over the given paths answered and the
// rest lost.
func (w *pathWorld) pass(d time.Duration, alive ...int) {
	w.t.Helper()
	for end := w.now + d; w.now < end; {
		for port := range w.out {
			if len(alive) == 0 || alive[0] != port && alive[len(alive)-1] != port {
				w.out[port] = nil
			}
		}
		for _, port := range alive {
			w.answer(port)
		}
		w.wait(min(ms(20), end-w.now))
	}
}

// state fails the test if the paths are not so: up, standby or down.
func (w *pathWorld) state(when string, want ...string) {
	w.t.Helper()
	for i, want := range want {
		p := w.engine.Path(i)
		got := "down"
		switch {
		case p.Standby:
			got = "standby"
		case p.Usable:
			got = "up"
		}
		if got != want {
			w.t.Errorf("%s: path %d is %s, want %s", when, i+1, got, want)
		}
	}
}

// data is how many frames of requests are on their way over a path.
func (w *pathWorld) data(port int) int {
	_, _, n := kinds(w.out[port])
	return n
}

// TestH1OnlyOneTargetIsUsed: two targets have the disk. Only the paths to one of
// them are used, also when that is silent until the disk is down; the other is
// no sign of life of it.
func TestH1OnlyOneTargetIsUsed(t *testing.T) {
	w := newTargets(t, Config{DeadTime: 20 * time.Second}, hostB)
	w.state("at the start", "up", "standby")
	for _, trouble := range []Trouble{PathDown, Silent, Replaced} {
		if _, on := w.engine.Trouble(trouble); on {
			t.Errorf("a path to another target is trouble %d", trouble)
		}
	}
	for range 16 {
		w.submit(request(Write, 0, 1, 1))
	}
	if w.data(0) == 0 || w.data(1) != 0 {
		t.Fatalf("%d frames sent over the first path, %d over the second", w.data(0), w.data(1))
	}
	w.out[0] = nil
	w.pass(19*time.Second, 1)
	w.state("the target is silent", "down", "standby")
	if _, on := w.engine.Trouble(Silent); !on || len(w.ended) != 0 {
		t.Errorf("silent for 19 s: trouble %v, %d requests ended", on, len(w.ended))
	}
	w.pass(2*time.Second, 1)
	if _, on := w.engine.Trouble(Dead); !on || len(w.ended) != 16 || w.ended[0].Outcome().Result != Down {
		t.Errorf("silent for the dead time: dead %v, %d requests ended", on, len(w.ended))
	}
	w.pass(10*time.Second, 1)
	if _, on := w.engine.Trouble(Dead); !on || w.target.Seen().Writes != 0 {
		t.Errorf("dead %v, %d writes", on, w.target.Seen().Writes)
	}
	w.pass(5*time.Second, 0, 1)
	w.state("it is back", "up", "standby")
	w.instances[1] = hostA
	w.pass(5*time.Second, 0, 1)
	w.state("it has the other port too", "up", "up")
}

// TestH1SlowTargetUndoesNothing: a write waits in target A. Where A and B are
// taken for one target, it is sent to B, answered, and undone by A after a newer
// one: that is what instances are for. Failover cannot prevent it either, if A
// was not dead.
func TestH1SlowTargetUndoesNothing(t *testing.T) {
	for _, row := range []struct {
		name     string
		b        frame.Instance
		failover time.Duration
		undone   bool
	}{
		{"one instance", hostA, 0, true},
		{"two instances", hostB, 0, false},
		{"two instances and a promise that is not kept", hostB, 5 * time.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newTargets(t, Config{DeadTime: -1, Failover: row.failover}, row.b)
			var held [][]byte // in A's hands
			w.submit(request(Write, 8, 1, 1))
			for len(w.ended) == 0 && w.now < 30*time.Second {
				held = append(held, w.out[0]...)
				w.out[0] = nil
				w.answer(1)
				w.wait(ms(10))
			}
			if row.undone != (len(w.ended) == 1) {
				t.Fatalf("%d writes ended without host A", len(w.ended))
			}
			if row.undone {
				w.submit(request(Write, 8, 1, 2))
				w.pass(3*time.Second, 1)
				if len(w.ended) != 2 {
					t.Fatal("the newer write is not answered")
				}
			}
			for _, b := range held { // now A gets to it
				for _, reply := range w.answerTo(0, b) {
					copy(reply[6:12], theirs[:])
					w.engine.Receive(w.now, 0, reply)
				}
				w.turn()
			}
			if !row.undone {
				w.pass(3*time.Second, 0, 1)
				w.submit(request(Write, 8, 1, 2))
				w.pass(3*time.Second, 0, 1)
			}
			if len(w.ended) != 2 {
				t.Fatalf("%d of 2 writes ended", len(w.ended))
			}
			if got := w.target.Bytes(8*512, 1)[0]; (got != 2) != row.undone {
				t.Errorf("the disk holds write %d, the last was 2", got)
			}
		})
	}
}

// TestH1Failover: permitted, the other target is used when the first has been gone
// for so long, not earlier and not while anything of it answers; and remains when
// the first is back.
func TestH1Failover(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1, Failover: 10 * time.Second}, hostB)
	w.submit(request(Write, 8, 1, 1))
	w.out[0] = nil
	w.pass(10*time.Second, 1) // silence was noticed 1 s after it began
	w.state("silent for 10 s", "down", "standby")
	w.pass(5*time.Second, 1)
	w.state("silent for 15 s", "standby", "up")
	if len(w.ended) != 1 || w.target.Seen().Writes != 1 {
		t.Errorf("%d requests ended, %d writes", len(w.ended), w.target.Seen().Writes)
	}
	w.pass(5*time.Second, 0, 1)
	w.state("the first is back", "standby", "up")
	if n := w.engine.Counters().Turns; n != 1 {
		t.Errorf("turned to another target %d times", n)
	}
	w.submit(request(Write, 8, 1, 2))
	if w.data(0) != 0 || w.data(1) != 1 {
		t.Errorf("%d frames to the first, %d to the second", w.data(0), w.data(1))
	}
}

// TestH1NoFailoverToATargetThatIsGone: nor while the first answers, if only with a
// refusal.
func TestH1NoFailoverToATargetThatIsGone(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1, Failover: 2 * time.Second}, hostB)
	w.submit(request(Write, 8, 1, 1))
	w.pass(10 * time.Second)
	w.state("both silent", "down", "standby")
	w.pass(3*time.Second, 0)
	w.state("the first is back", "up", "standby")
	if len(w.ended) != 1 || w.engine.Counters().Turns != 0 {
		t.Errorf("%d requests ended, turned %d times", len(w.ended), w.engine.Counters().Turns)
	}
	w.pass(10*time.Second, 0, 1)
	w.state("both are back", "up", "standby")
}

// announce has the target at the end of a path announce the disk.
func (w *pathWorld) announce(port int) {
	b := w.target.Announcement()
	copy(b[6:12], [][]byte{theirs[:], theirs2[:]}[port])
	w.engine.Receive(w.now, port, b)
	w.turn()
}

// TestH1TheMACMoves: the first target's MAC is given to the other one. That is
// used from then on, with every path to it, and nothing has to be configured.
func TestH1TheMACMoves(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1}, hostB)
	w.pass(2*time.Second, 0, 1)
	w.instances[0] = hostB
	w.announce(0)
	w.settle()
	w.pass(2*time.Second, 0, 1)
	w.state("the MAC has moved", "up", "up")
	if n := w.engine.Counters().Turns; n != 1 {
		t.Errorf("turned to another target %d times", n)
	}
	w.instances[1] = hostA
	w.announce(1)
	w.settle()
	w.state("the first has the other MAC", "up", "standby")
}

// TestH1TheTargetIsStartedAgain: with both of its ports, of which the first to be
// identified stands aside until the other has told the same.
func TestH1TheTargetIsStartedAgain(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1}, hostA)
	w.state("at the start", "up", "up")
	w.pass(2*time.Second, 0, 1)
	w.instances = [2]frame.Instance{hostB, hostB}
	w.announce(0)
	w.settle()
	w.pass(ms(500), 0, 1)
	w.state("started again", "up", "up")
	if n := w.engine.Counters().Turns; n != 1 {
		t.Errorf("turned to another target %d times", n)
	}
}

// TestH1AMACMovesWhileTheTargetLives: of two ports of host A, B takes one over.
// While A answers at the other, B is not used; when it does not any more, B is.
func TestH1AMACMovesWhileTheTargetLives(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1}, hostA)
	w.pass(2*time.Second, 0, 1)
	w.instances[1] = hostB
	w.announce(1)
	w.settle()
	w.pass(5*time.Second, 0, 1)
	w.state("a MAC has moved", "up", "standby")
	w.submit(request(Write, 8, 1, 1))
	if w.data(1) != 0 {
		t.Error("written to both")
	}
	w.out[0] = nil
	w.pass(5*time.Second, 1)
	w.state("the rest is silent", "standby", "up")
	if len(w.ended) != 1 {
		t.Error("the write did not end")
	}
}

// TestH1AnotherTargetsAnswersEndNoFence: a copy went to host A, over the path on
// which B answers now. What B answers says nothing of it: the fence stands for
// the life of a frame.
func TestH1AnotherTargetsAnswersEndNoFence(t *testing.T) {
	for name, b := range map[string]frame.Instance{"the same target": hostA, "another": hostB} {
		t.Run(name, func(t *testing.T) {
			w := newTargets(t, Config{DeadTime: -1}, hostB)
			w.pass(2*time.Second, 0, 1)
			w.use(20)
			w.submit(request(Write, 8, 1, 1))
			lost := w.now
			w.out[0] = nil
			w.instances[0] = b
			w.announce(0)
			for len(w.ended) < 81 && w.now < lost+ms(500) {
				w.wait(ms(1))
				w.answer(0)
			}
			if len(w.ended) != 81 {
				t.Fatal("the write was not sent again")
			}
			w.submit(request(Write, 8, 1, 2))
			w.pass(ms(200), 0, 1)
			waits := len(w.ended) == 81
			if waits != (b == hostB) {
				t.Errorf("%v after the copy was lost the newer write waits: %v", w.now-lost, waits)
			}
			w.pass(time.Second, 0, 1)
			if len(w.ended) != 82 {
				t.Error("the newer write did not end")
			}
		})
	}
}

// TestH1AFenceThatStandsIsNotEndedByAnotherTarget: as before, but the fence is up
// already when the other target takes over.
func TestH1AFenceThatStandsIsNotEndedByAnotherTarget(t *testing.T) {
	for name, b := range map[string]frame.Instance{"the same target": hostA, "another": hostB} {
		t.Run(name, func(t *testing.T) {
			w := newTargets(t, Config{DeadTime: -1}, hostB)
			w.pass(2*time.Second, 0, 1)
			w.use(20)
			w.submit(request(Write, 8, 1, 1))
			first := w.out[0]
			w.out[0] = nil
			for w.data(0) == 0 {
				w.wait(ms(1))
			}
			w.out[0] = first // its answer arrives after all, the copy is lost
			w.answer(0)
			if len(w.ended) != 81 || w.engine.Gauges().FencesUp != 1 {
				t.Fatalf("%d requests ended, %d fences up", len(w.ended), w.engine.Gauges().FencesUp)
			}
			w.instances[0] = b
			w.announce(0)
			w.settle()
			w.submit(request(Write, 8, 1, 2))
			w.pass(ms(300), 0, 1)
			if waits := len(w.ended) == 81; waits != (b == hostB) {
				t.Errorf("the newer write waits: %v", waits)
			}
			w.pass(time.Second, 0, 1)
			if len(w.ended) != 82 {
				t.Error("the newer write did not end")
			}
		})
	}
}

// TestH1NoFailoverFromATargetThatRefuses: it is not dead.
func TestH1NoFailoverFromATargetThatRefuses(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1, Failover: 2 * time.Second}, hostB)
	w.refuses = true
	w.announce(0)
	w.pass(10*time.Second, 0, 1)
	w.state("the first refuses", "down", "standby")
	if _, on := w.engine.Trouble(Refusing); !on || w.engine.Counters().Turns != 0 {
		t.Errorf("refuses to identify the disk: %v; turned %d times", on, w.engine.Counters().Turns)
	}
}

// TestH1AnOldMACIsNoTakeover: the target in use had a MAC, and left it when it took
// over another. That the old one is some other target's now does not make
// that one the successor, however silent the target in use becomes.
func TestH1AnOldMACIsNoTakeover(t *testing.T) {
	w := newTargets(t, Config{DeadTime: -1}, hostB)
	w.pass(2*time.Second, 0, 1)
	w.instances[0] = hostB // takes the first MAC over,
	w.announce(0)
	w.pass(5*time.Second, 0) // and leaves the second.
	w.state("the MAC has moved", "up", "down")
	w.instances[1] = hostC
	w.pass(15*time.Second, 0, 1)
	w.state("somebody has the other MAC", "up", "standby")
	w.submit(request(Write, 8, 1, 1))
	w.out[0] = nil
	w.pass(30*time.Second, 1)
	w.state("the target in use is silent", "down", "standby")
	if len(w.ended) != 0 {
		t.Error("written to another target")
	}
	w.instances[0] = hostC
	w.pass(5*time.Second, 0, 1)
	w.state("its MAC was taken over", "up", "up")
}
