package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// A smallWorld is an engine, a target of one sector and a network, of which
// every behaviour is gone through: each frame arrives at any moment of its life,
// before or behind any other, once, twice or never; timers run out in between.
// See docs/ORDER.md.
type smallWorld struct {
	name string
	// script is what the client does, one letter each: w writes a value of its
	// own, r reads, c cancels the oldest write that is not finished. The next
	// is submitted as soon as there is anything to wait for.
	script string
	// life is how long a frame can be alive; jitter by how much it can be
	// overtaken, negative: at will.
	life, jitter time.Duration
	// believedLife and believedJitter are what the engine is told.
	believedLife, believedJitter time.Duration
	twice                        int           // frames that the network may double
	until                        time.Duration // behaviour is followed until then
	forgetful                    bool          // the target remembers no tags
}

// worldRTO is the first timeout in a small world.
const worldRTO = 10 * time.Millisecond

var smallWorlds = []smallWorld{
	{name: "any order", script: "ww", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: -1, twice: 1, until: ms(62)},
	{name: "any order, read", script: "wwr", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: -1, until: ms(62)},
	{name: "any order, canceled", script: "wcwr", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: -1, until: ms(62)},
	{name: "any order, three writes", script: "www", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: -1, until: ms(62)},
	{name: "in order", script: "ww", life: ms(45), jitter: ms(4), believedLife: time.Hour, believedJitter: ms(4), twice: 1, until: ms(62)},
	{name: "in order, canceled", script: "wcw", life: ms(45), jitter: ms(4), believedLife: time.Hour, believedJitter: ms(4), twice: 1, until: ms(62)},
	{name: "any order, a target without memory", script: "www", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: -1, until: ms(62), forgetful: true},
}

// TestH1EverySmallWorld: in no behaviour of a small world does a read return, or
// the disk hold in the end, anything but the last acknowledged write or one
// in doubt.
func TestH1EverySmallWorld(t *testing.T) {
	for _, w := range smallWorlds {
		t.Run(w.name, func(t *testing.T) {
			x := w.explore()
			t.Logf("%d states, %d ends, %d late copies carried out", x.states, x.ends, x.late)
			if x.failure != nil {
				t.Fatal(x.failure)
			}
			if x.states < 300 || x.ends == 0 || x.late == 0 {
				t.Error("the world is too small to show anything")
			}
		})
	}
}

// TestH1EverySmallWorldCatchesAMissingFence is the canary: with any part of the
// fence gone, some behaviour undoes a write.
func TestH1EverySmallWorldCatchesAMissingFence(t *testing.T) {
	for name, w := range map[string]smallWorld{
		"no fence":              {script: "ww", life: ms(25), jitter: -1, believedLife: 1, believedJitter: -1, until: ms(62)},
		"frames live longer":    {script: "ww", life: ms(25), jitter: -1, believedLife: ms(14), believedJitter: -1, until: ms(62)},
		"order that is not":     {script: "ww", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: ms(1), until: ms(62)},
		"order that is less":    {script: "ww", life: ms(45), jitter: ms(4), believedLife: time.Hour, believedJitter: ms(2), until: ms(62)},
		"no memory, and copies": {script: "ww", life: ms(25), jitter: -1, believedLife: ms(25), believedJitter: -1, twice: 1, until: ms(62), forgetful: true},
	} {
		t.Run(name, func(t *testing.T) {
			x := w.explore()
			if x.failure == nil {
				t.Errorf("%d states, and no write was undone: the explorer is blind", x.states)
			} else {
				t.Log(x.failure)
			}
		})
	}
}

// An explorer goes through the behaviours of a world, a state at a time. A
// behaviour is the choices that led to it: the engine is not copied, but taken
// there again.
type explorer struct {
	smallWorld
	seen    map[uint64]bool
	states  int
	ends    int
	late    int
	failure error
	story   *bytes.Buffer // to be told, if not nil
}

func (w smallWorld) explore() *explorer {
	x := &explorer{smallWorld: w, seen: map[uint64]bool{}}
	todo := [][]byte{nil}
	for len(todo) > 0 && x.failure == nil {
		path := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s := x.replay(path)
		if s.failure != nil {
			x.story = &bytes.Buffer{}
			x.failure = fmt.Errorf("%w\nafter: %s", x.replay(path).failure, x.story)
			return x
		}
		if x.late += s.late; s.choices() == 0 {
			x.ends++
			continue
		}
		if h := s.hash(); x.seen[h] {
			continue
		} else {
			x.seen[h] = true
		}
		x.states++
		for c := range s.choices() {
			todo = append(todo, append(slices.Clip(slices.Clone(path)), byte(c)))
		}
	}
	return x
}

// A worldState is a world at a moment.
type worldState struct {
	smallWorld
	now    time.Duration
	engine *Engine
	target *initiatortest.Target
	air    []airborne // in order of sending
	twices int
	script string

	requests []*Request
	values   map[*Request]uint64
	may      []uint64          // what the sector may hold
	acked    map[uint64]bool   // by value
	replies  map[uint32][]byte // by tag, of what the target has executed
	late     int               // by the last choice
	story    *bytes.Buffer
	failure  error
}

// An airborne frame is on its way.
type airborne struct {
	b        []byte
	toTarget bool
	sent     time.Duration
	dies     time.Duration
}

func (x *explorer) replay(path []byte) *worldState {
	s := &worldState{
		smallWorld: x.smallWorld, target: newTarget(initiatortest.Config{Sectors: 1}), script: x.smallWorld.script,
		story:  x.story,
		values: map[*Request]uint64{}, may: []uint64{0}, acked: map[uint64]bool{}, replies: map[uint32][]byte{},
	}
	e, err := New(Config{
		Addr: disk, Paths: onePath, Buffers: 4, Identity: identityOf(s.target), Slots: 16, Window: 8,
		RTOFirst: worldRTO, RTOMin: worldRTO, RTOMax: 8 * worldRTO, Silence: time.Hour, DeadTime: -1,
		FrameLife: x.believedLife, Overtake: x.believedJitter, Probe: -1, Rand: rand.NewPCG(1, 1),
	})
	if err != nil {
		s.failure = err
		return s
	}
	s.engine = e
	// Nothing is sent again but by timers. When is not what the fence depends
	// on, and the measured round trips then have no part in what happens.
	for c := range e.paths[0].order {
		e.paths[0].order[c].extent, e.paths[0].order[c].before = time.Hour, time.Hour
	}
	s.turn()
	for _, c := range path {
		s.late = 0
		s.choose(int(c))
	}
	return s
}

// choices: each frame arrives, or arrives and stays in the air, or time passes.
func (s *worldState) choices() int {
	if s.failure != nil || s.now > s.until || s.script == "" && len(s.air) == 0 && s.engine.Idle() {
		return 0
	}
	n := len(s.air) + 1
	if s.twices < s.twice {
		n += len(s.air)
	}
	return n
}

func (s *worldState) choose(c int) {
	n := len(s.air)
	switch {
	case c == 0:
		s.pass()
	case c <= n:
		a := s.air[c-1]
		s.air = slices.Delete(s.air, c-1, c)
		s.arrive(a)
	default:
		s.twices++
		s.arrive(s.air[c-1-n])
	}
	s.turn()
	if s.choices() == 0 && s.now <= s.until {
		s.check(s.sector(), "the disk holds in the end")
	}
}

// pass lets time pass until something happens by itself.
func (s *worldState) pass() {
	next := s.engine.Deadline()
	for _, a := range s.air {
		next = min(next, a.dies)
	}
	s.now = min(next, s.until+1)
	s.air = slices.DeleteFunc(s.air, func(a airborne) bool { return a.dies <= s.now })
	s.tell("\n%v:", s.now)
}

func (s *worldState) arrive(a airborne) {
	if s.jitter >= 0 {
		for i := range s.air {
			if o := &s.air[i]; o.toTarget == a.toTarget && o.sent < a.sent {
				o.dies = min(o.dies, s.now+s.jitter)
			}
		}
		s.air = slices.DeleteFunc(s.air, func(o airborne) bool { return o.dies <= s.now })
	}
	s.tell("\n  arrives: %s", a.b)
	if a.toTarget {
		s.execute(a.b)
		return
	}
	r, _ := s.engine.Receive(s.now, 0, a.b)
	if r != nil && r.Kind == Read {
		s.check(binary.BigEndian.Uint64(a.b[frame.ATADataOffset:]), "a read returns")
	}
}

// execute is the target, which remembers what it has executed, but not if it is
// forgetful.
func (s *worldState) execute(b []byte) {
	reply, again := s.replies[tagOf(b)]
	if !again || s.forgetful {
		if a, data, err := frame.ParseATA(b[frame.HeaderLen:]); err == nil && a.Op.IsWrite() && s.acked[binary.BigEndian.Uint64(data)] {
			s.late++
		}
		reply = s.target.Answer(b)[0]
		s.replies[tagOf(b)] = reply
	}
	s.send(reply, false)
}

func (s *worldState) send(b []byte, toTarget bool) {
	s.air = append(s.air, airborne{bytes.Clone(b), toTarget, s.now, s.now + s.life})
}

func (s *worldState) tell(format string, what any) {
	if s.story == nil {
		return
	}
	if b, ok := what.([]byte); ok {
		what = frame.Describe(b)
	}
	fmt.Fprintf(s.story, format, what)
}

func (s *worldState) sector() uint64 { return binary.BigEndian.Uint64(s.target.Bytes(0, 8)) }

func (s *worldState) check(got uint64, what string) {
	if !slices.Contains(s.may, got) && s.failure == nil {
		s.failure = fmt.Errorf("at %v %s write %d, but only %v may be there", s.now, what, got, s.may)
	}
}

// turn lets the engine and the client do what they have to.
func (s *worldState) turn() {
	// Answers that nobody waits for any more change nothing but counters.
	s.air = slices.DeleteFunc(s.air, func(a airborne) bool { return !a.toTarget && !s.engine.Admits(0, a.b) })
	s.engine.Advance(s.now)
	s.client()
	for r := s.engine.Completed(); r != nil; r = s.engine.Completed() {
		if r.Kind != Write {
			continue
		}
		if v := s.values[r]; r.Outcome().Result == OK {
			s.may, s.acked[v] = []uint64{v}, true
		} else {
			s.may = append(s.may, v)
		}
	}
	out := make([][]byte, 4)
	for n := s.engine.Drain(s.now, 0, out); n > 0; n = s.engine.Drain(s.now, 0, out) {
		for _, b := range out[:n] {
			s.tell("\n  sent: %s", b)
			s.send(b, true)
		}
	}
}

// client submits everything at the beginning, and cancels when time has passed
// once.
func (s *worldState) client() {
	for s.script != "" {
		switch s.script[0] {
		case 'c':
			if s.now == 0 {
				return
			}
			for _, r := range s.requests {
				if r.place != isFinished && r.place != nowhere {
					s.engine.Cancel(s.now, r)
					break
				}
			}
		case 'r':
			s.submit(request(Read, 0, 1, 0))
		default:
			r := request(Write, 0, 1, 0)
			s.values[r] = uint64(len(s.values) + 1)
			binary.BigEndian.PutUint64(r.Frames[0].Transmit[frame.ATADataOffset:], s.values[r])
			s.submit(r)
		}
		s.script = s.script[1:]
	}
}

func (s *worldState) submit(r *Request) {
	s.requests = append(s.requests, r)
	s.engine.Submit(s.now, r)
}

// hash is of everything that what follows depends on.
func (s *worldState) hash() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, s.now, s.script, s.twices, s.may, s.sector(), "|")
	for _, a := range s.air {
		fmt.Fprint(h, a.toTarget, a.sent, a.dies)
		h.Write(a.b[:min(len(a.b), frame.ATADataOffset+8)])
	}
	tags := make([]uint32, 0, len(s.replies))
	for tag := range s.replies {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	fmt.Fprint(h, tags, "|")
	for _, r := range s.requests {
		fmt.Fprint(h, r.place, r.started, r.pending, r.waits, r.Frames[0].slot, r.outcome)
	}
	s.engine.hash(h)
	return h.Sum64()
}

// hash is of what the engine's behaviour depends on, but for its requests. The
// window is not a part of it: all requests are of one sector, so that no more
// than one frame is in flight.
func (e *Engine) hash(w io.Writer) {
	for i := range e.table.slots {
		if s := &e.table.slots[i]; s.state != slotFree {
			fmt.Fprint(w, i, s.state, s.base, s.count, s.answered, s.sent, s.deadline, s.backoff, s.fence, s.via, s.next)
		}
	}
	p := &e.paths[0]
	fmt.Fprint(w, p.hearing, p.reached, p.suspect, e.hearing, e.lost, e.fence.lists, e.yield, e.wakeAt)
}

// long is whether tests that take long may.
func long() bool { return os.Getenv("AOE_LONG") != "" }
