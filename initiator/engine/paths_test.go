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

var (
	ours2   = frame.MAC{2, 0, 0, 0, 0, 3}
	theirs2 = frame.MAC{2, 0, 0, 0, 0, 4}
)

// A pathWorld is an engine with two paths to one disk. What is sent over each is
// answered by the test; from the second path, as by another port of the target.
type pathWorld struct {
	*world
	out [2][][]byte // sent over each, not yet delivered
	mtu int         // of the second path, if not 0: longer frames get lost

	instances [2]frame.Instance // of the target at the end of each
	refuses   bool              // the first target, to identify the disk
}

func newPathWorld(t testing.TB, cfg Config, proven bool) *pathWorld {
	t.Helper()
	cfg.Paths = []Path{{Port: 0, Local: ours, Remote: theirs, Proven: true}, {Port: 1, Local: ours2, Remote: theirs2, Proven: proven}}
	return &pathWorld{world: newWorld(t, cfg, initiatortest.Config{})}
}

func (w *pathWorld) turn() {
	w.t.Helper()
	w.engine.Advance(w.now)
	for r := w.engine.Completed(); r != nil; r = w.engine.Completed() {
		w.ended = append(w.ended, r)
	}
	buf := make([][]byte, 4)
	for port := range w.out {
		for n := w.engine.Drain(w.now, port, buf); n > 0; n = w.engine.Drain(w.now, port, buf) {
			for _, b := range buf[:n] {
				want := []frame.MAC{ours, ours2}[port]
				if h, _, _ := frame.Parse(b); h.Src != want {
					w.t.Fatalf("sent by port %d as %v: %s", port, h.Src, frame.Describe(b))
				}
				w.out[port] = append(w.out[port], bytes.Clone(b))
			}
		}
	}
	if d := w.engine.Deadline(); d <= w.now {
		w.t.Fatalf("deadline %v is not after now, %v: an owner would spin", d, w.now)
	}
}

func (w *pathWorld) submit(r *Request) *Request {
	w.engine.Submit(w.now, r)
	w.turn()
	return r
}

func (w *pathWorld) wait(d time.Duration) {
	w.t.Helper()
	end := w.now + d
	for w.engine.Deadline() <= end {
		w.now = max(w.now, w.engine.Deadline())
		w.turn()
	}
	w.now = end
	w.turn()
}

// answer delivers what was sent over a path, until nothing more is.
func (w *pathWorld) answer(port int) {
	w.t.Helper()
	for len(w.out[port]) > 0 {
		b := w.out[port][0]
		w.out[port] = w.out[port][1:]
		if port == 1 && w.mtu > 0 && len(b) > w.mtu {
			continue
		}
		for _, reply := range w.answerTo(port, b) {
			copy(reply[6:12], [][]byte{theirs[:], theirs2[:]}[port])
			w.engine.Receive(w.now, port, reply)
		}
		w.turn()
	}
}

// answerTo is what the target at the end of a path answers: two of them have one
// store.
func (w *pathWorld) answerTo(port int, b []byte) [][]byte {
	w.target.Change(func(c *initiatortest.Config) { c.Instance = w.instances[port] })
	if _, i, _ := kinds([][]byte{b}); i > 0 && port == 0 && w.refuses {
		reply := bytes.Clone(b)
		frame.ReplyError(reply, theirs, disk, aoe.ErrorDeviceUnavailable)
		return [][]byte{reply}
	}
	return w.target.Answer(b)
}

// use does n reads, a tenth of a millisecond each way.
func (w *pathWorld) use(n int) {
	for range n {
		for range 4 {
			w.submit(request(Read, 0, 1, 0))
		}
		w.now += ms(0.1)
		w.answer(0)
		w.answer(1)
	}
}

func kinds(all [][]byte) (queries, identifies, others int) {
	for _, b := range all {
		h, arg, _ := frame.Parse(b)
		a, _, _ := frame.ParseATA(arg)
		switch {
		case h.Command == aoe.CommandQueryConfigInformation:
			queries++
		case a.Op == frame.OpIdentify:
			identifies++
		default:
			others++
		}
	}
	return queries, identifies, others
}

// TestH15APathJoinsWhenItShowsTheDisk: nothing but questions is sent over a path
// before a padded IDENTIFY has shown serial number and size over it.
func TestH15APathJoinsWhenItShowsTheDisk(t *testing.T) {
	const frameLen = frame.ATADataOffset + 8*frame.SectorSize
	w := newPathWorld(t, Config{FrameLen: frameLen}, false)
	w.turn()
	for range 8 {
		w.submit(request(Read, 0, 1, 0))
	}
	if q, i, o := kinds(w.out[1]); q != 1 || i != 0 || o != 0 {
		t.Fatalf("sent before anything is known: %d queries, %d IDENTIFYs, %d others", q, i, o)
	}
	q := w.out[1][0]
	w.out[1] = nil
	reply := w.target.Answer(q)[0]
	copy(reply[6:12], theirs2[:])
	w.engine.Receive(w.now, 1, reply)
	w.turn()
	if _, i, o := kinds(w.out[1]); i != 1 || o != 0 || len(w.out[1][0]) != frameLen {
		t.Fatalf("then: %d IDENTIFYs of %d bytes, %d others; want one of %d", i, len(w.out[1][0]), o, frameLen)
	}
	if _, on := w.engine.Trouble(PathDown); on {
		t.Error("a path that is asked for the first time is a trouble")
	}
	w.answer(1)
	w.use(20)
	if a, b := w.engine.Path(0), w.engine.Path(1); a.Read.Samples == 0 || b.Read.Samples == 0 {
		t.Errorf("%d and %d reads over the two paths", a.Read.Samples, b.Read.Samples)
	}
}

// TestH15AnImpostorIsNotAPath: who shows another serial number, or another size
// than all others, gets no data, and the disk goes on.
func TestH15AnImpostorIsNotAPath(t *testing.T) {
	for name, change := range map[string]func(*initiatortest.Config){
		"serial": func(c *initiatortest.Config) { c.Serial = "impostor" },
		"size":   func(c *initiatortest.Config) { c.Sectors *= 2 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPathWorld(t, Config{DeadTime: -1}, false)
			fake := newTarget(initiatortest.Config{Serial: "initiatortest"})
			fake.Change(change)
			w.turn()
			real := w.target
			for range 50 {
				w.submit(request(Write, 0, 1, 1))
				w.now += ms(50)
				w.target = real
				w.answer(0)
				w.target = fake
				w.answer(1)
				w.target = real
				w.turn()
			}
			if s := fake.Seen(); s.Writes != 0 || s.Identifies == 0 {
				t.Errorf("the impostor was asked %d times and written to %d times", s.Identifies, s.Writes)
			}
			if len(w.ended) != 50 || w.engine.down() || w.engine.Sectors() != 2048 {
				t.Errorf("%d of 50 writes done, down: %v, %d sectors", len(w.ended), w.engine.down(), w.engine.Sectors())
			}
			s := w.engine.Path(1)
			if _, on := s.Trouble(Replaced); !on || s.Usable {
				t.Error("the path does not say what is wrong with it")
			}
			if _, on := w.engine.Trouble(PathDown); !on {
				t.Error("the disk does not say that a path is out of use")
			}
			w.wait(5 * time.Second) // ours is back
			w.answer(0)
			w.wait(time.Second)
			w.answer(1)
			w.answer(0)
			if s := w.engine.Path(1); !s.Usable {
				t.Error("the right disk is not taken back")
			}
		})
	}
}

// TestFailover: a path goes dead under load. What was sent over it is answered
// over the other within three timeouts, and it is taken back when it has shown
// the disk.
func TestFailover(t *testing.T) {
	w := newPathWorld(t, Config{DeadTime: -1, RTOMin: ms(2)}, true)
	w.use(200)
	a, b := w.engine.Path(0), w.engine.Path(1)
	if a.Read.Samples < 200 || b.Read.Samples < 200 {
		t.Fatalf("reads are spread %d to %d over paths that are alike", a.Read.Samples, b.Read.Samples)
	}
	died, before := w.now, w.engine.Counters()
	var stuck []*Request
	for range 8 {
		stuck = append(stuck, w.submit(request(Read, 0, 1, 0)))
	}
	if len(w.out[1]) == 0 {
		t.Fatal("nothing was sent over the path that dies")
	}
	rto := b.Read.Timeout
	unanswered := func() bool {
		for _, r := range stuck {
			if r.place != nowhere {
				return true
			}
		}
		return false
	}
	for unanswered() && w.now < died+time.Second {
		w.now += ms(0.1)
		w.submit(request(Read, 0, 1, 0))
		w.answer(0)
		w.out[1] = nil
	}
	if took := w.now - died; took > 3*rto+ms(1) {
		t.Errorf("took %v to fail over, want 3 timeouts of %v at most", took, rto)
	}
	for range 50 {
		w.now += ms(0.1)
		w.submit(request(Read, 0, 1, 0))
		w.answer(0)
	}
	if _, _, others := kinds(w.out[1]); others > 0 || w.engine.Path(1).Usable {
		t.Errorf("%d frames more were sent over the dead path", others)
	}
	if c := w.engine.Counters(); c.Failovers != before.Failovers+1 || c.WindowCuts != before.WindowCuts {
		t.Errorf("%d failovers, window cut %d times", c.Failovers-before.Failovers, c.WindowCuts-before.WindowCuts)
	}
	w.out[1] = nil
	w.wait(3 * time.Second)
	s := w.engine.Path(1)
	if _, on := s.Trouble(Silent); !on {
		t.Error("the path does not say that it is silent")
	}
	w.answer(0)
	w.out[1] = w.out[1][len(w.out[1])-1:]
	w.answer(1)
	if s := w.engine.Path(1); !s.Usable || w.engine.Counters().Redemptions != 1 {
		t.Error("the path is not taken back")
	}
	n := w.engine.Path(1).Read.Samples
	w.use(20)
	if w.engine.Path(1).Read.Samples == n {
		t.Error("nothing is sent over the path that is back")
	}
	if _, on := w.engine.Trouble(PathDown); on {
		t.Error("still in trouble")
	}
}

// TestFailoverOfAnIdlePath: a lone request over a path that has died, with nothing
// else going on, is answered over the other as well.
func TestFailoverOfAnIdlePath(t *testing.T) {
	w := newPathWorld(t, Config{DeadTime: -1, RTOMin: ms(2)}, true)
	w.use(200)
	died := w.now
	for range 20 {
		r := w.submit(request(Read, 8, 8, 0))
		for step := 1; r.place != nowhere && w.now < died+5*time.Second; step++ {
			w.now += ms(0.1)
			w.turn()
			if step%4 == 0 { // slower than the other was
				w.answer(0)
			}
		}
		if r.Outcome().Result != OK {
			t.Fatalf("ended with %+v", r.Outcome())
		}
		w.now += ms(5)
		w.turn()
	}
	if w.engine.Path(1).Usable {
		t.Error("the dead path is still taken for alive")
	}
}

// TestPortGoesDown: what is in flight over it is sent over the other at once.
func TestPortGoesDown(t *testing.T) {
	w := newPathWorld(t, Config{DeadTime: -1, RTOMin: ms(50)}, true)
	w.use(50)
	var all []*Request
	for range 8 {
		all = append(all, w.submit(request(Read, 0, 1, 0)))
	}
	w.engine.LinkChanged(w.now, 1, ours2, false, 255)
	w.turn()
	w.answer(0)
	for _, r := range all {
		w.outcome(r, Outcome{})
	}
	w.out[1] = nil
	w.engine.LinkChanged(w.now, 1, ours2, true, 255)
	w.turn()
	w.answer(1)
	if !w.engine.Path(1).Usable {
		t.Error("the port is up and its path is not used")
	}
}

// TestSpreadByServiceTime: a path that takes four times as long gets less than
// half as much, and both get something.
func TestSpreadByServiceTime(t *testing.T) {
	w := newPathWorld(t, Config{DeadTime: -1, RTOMin: ms(5), Overtake: -1}, true)
	type reply struct {
		at   time.Duration
		port int
		b    []byte
	}
	var busy [2]time.Duration
	var queue []reply
	for w.now < time.Second {
		for w.engine.Gauges().InFlight < 16 && w.engine.window.limit() >= 16 {
			w.submit(request(Read, 0, 1, 0))
		}
		w.turn()
		for port := range w.out {
			for _, b := range w.out[port] {
				busy[port] = max(busy[port], w.now) + []time.Duration{ms(0.05), ms(0.2)}[port]
				queue = append(queue, reply{busy[port], port, b})
			}
			w.out[port] = nil
		}
		first := 0
		for i := range queue {
			if queue[i].at < queue[first].at {
				first = i
			}
		}
		r := queue[first]
		queue = append(queue[:first], queue[first+1:]...)
		w.now = r.at
		w.out[r.port] = append([][]byte{r.b}, w.out[r.port]...)
		kept := w.out[r.port][1:]
		w.out[r.port] = w.out[r.port][:1]
		w.answerOne(r.port)
		w.out[r.port] = append(w.out[r.port], kept...)
	}
	a, b := w.engine.Path(0).Read.Samples, w.engine.Path(1).Read.Samples
	t.Logf("%d and %d reads in a second, of 20000 and 5000 that the paths can do", a, b)
	if a < 15000 || b < 2000 || b*2 > a {
		t.Errorf("%d and %d reads: spread badly", a, b)
	}
}

func (w *pathWorld) answerOne(port int) {
	b := w.out[port][0]
	w.out[port] = nil
	for _, reply := range w.target.Answer(b) {
		copy(reply[6:12], [][]byte{theirs[:], theirs2[:]}[port])
		w.engine.Receive(w.now, port, reply)
	}
	w.turn()
}

// TestLongFramesDieOnAPath: a switch on one path has got a smaller MTU. Nothing is
// sent over it any more, and why is told; it is taken back when long frames
// get through again.
func TestLongFramesDieOnAPath(t *testing.T) {
	w := newPathWorld(t, Config{DeadTime: -1, FrameLen: 4096 + frame.ATADataOffset, RTOMin: ms(2)}, true)
	w.use(100)
	w.mtu = 1514
	for w.engine.Path(1).Usable && w.now < 10*time.Second {
		for i := range uint64(8) {
			w.submit(request(Write, 8*i, 8, 1))
		}
		for range 10 {
			w.now += ms(1)
			w.turn()
			w.answer(1)
			w.answer(0)
		}
	}
	for range 100 {
		w.now += ms(20)
		w.turn()
		w.answer(1)
		w.answer(0)
	}
	s := w.engine.Path(1)
	if _, on := s.Trouble(ShortFrames); !on || s.Usable {
		t.Errorf("the path is usable: %v, and does not say what is wrong: %v", s.Usable, !on)
	}
	w.mtu = 0
	for range 20 {
		w.now += ms(100)
		w.turn()
		w.answer(0)
		w.answer(1)
	}
	if s := w.engine.Path(1); !s.Usable {
		t.Error("long frames get through again, and the path is not used")
	}
}

// TestUnknownTargetIsAskedFor: behind a port where nobody answered, everybody is
// asked until somebody does.
func TestUnknownTargetIsAskedFor(t *testing.T) {
	m := newMirror(12)
	w := newPathWorld(t, Config{DeadTime: -1, Tags: []Tags{nil, m}, Rand: rand.NewPCG(1, 2)}, false)
	cfg := w.engine.cfg
	cfg.Paths = []Path{cfg.Paths[0], {Port: 1, Local: ours2}}
	cfg.Rand = rand.NewPCG(1, 2)
	m.remote = frame.MAC{}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.engine = e
	e.Start(0)
	w.wait(30 * time.Second)
	if len(w.out[1]) < 10 {
		t.Fatalf("asked %d times in 30 s", len(w.out[1]))
	}
	for _, b := range w.out[1] {
		if h, _, _ := frame.Parse(b); h.Dst != frame.Broadcast || h.Command != aoe.CommandQueryConfigInformation {
			t.Fatalf("sent to somebody unknown: %s", frame.Describe(b))
		}
	}
	if m.remote != (frame.MAC{}) {
		t.Error("somebody is told of as the target")
	}
	forged := w.target.Answer(w.out[1][len(w.out[1])-1])[0]
	frame.PutTag(forged, tagOf(forged)+1<<13)
	e.Receive(w.now, 1, forged)
	if e.paths[1].known() {
		t.Fatal("an answer to nothing made its sender the target")
	}
	w.out[1] = w.out[1][len(w.out[1])-1:]
	w.answer(1)
	if s := e.Path(1); !s.Usable || s.Remote != theirs2 || m.remote != theirs2 {
		t.Errorf("path: %+v, told: %v", s, m.remote)
	}
}

// TestI10NoAllocationOnSeveralPaths: as TestI10NoAllocation, while one dies and
// comes back.
func TestI10NoAllocationOnSeveralPaths(t *testing.T) {
	w := newPathWorld(t, Config{DeadTime: -1, RTOMin: ms(2)}, true)
	w.use(50)
	e, out, reply := w.engine, make([][]byte, 32), make([]byte, 0, 9000)
	all := make([]*Request, 8)
	for i := range all {
		all[i] = request(Write, uint64(i*8), 8, 1)
	}
	dead := false
	if n := testing.AllocsPerRun(300, func() {
		dead = !dead
		for _, r := range all {
			if r.place == nowhere {
				e.Submit(w.now, r)
			}
		}
		for range 40 {
			w.now += ms(0.5)
			e.Advance(w.now)
			for e.Completed() != nil {
			}
			for port := range 2 {
				for n := e.Drain(w.now, port, out); n > 0; n = e.Drain(w.now, port, out) {
					for _, b := range out[:n] {
						if dead && port == 1 {
							continue
						}
						reply = append(reply[:0], b[:min(len(b), 60)]...)
						src := []frame.MAC{theirs, theirs2}[port]
						frame.Reply(reply, src, disk)
						if b[19] == 0 {
							frame.PutResult(reply, frame.StatusDRDY, 0, 0)
						}
						e.Receive(w.now, port, reply)
					}
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
