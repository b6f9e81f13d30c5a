package engine

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest/timeline"
	"aoe/initiator/initiatortest"
)

var (
	simSeed = flag.Uint64("seed", 0, "replay this seed of the simulation only")
	simRuns = flag.Int("runs", 0, "seeds of the simulation; 0: as AOE_SEEDS says, or 300, or 100,000 with AOE_LONG set")
)

// networks are the two kinds that the fence has to hold on (H1).
var networks = []simConfig{
	// Frames take up to simLife and overtake each other at will.
	{name: "disorderly", life: simLife, overtake: -1},
	// Frames take as long, because they queue, and overtake each other by
	// simJitter at most. Their life is as good as infinite, so that only
	// having been overtaken ends a fence.
	{name: "orderly", fifo: true, life: time.Hour, overtake: simJitter},
	// Two paths, each of which keeps order, but not with the other, and goes
	// dead for a while now and then.
	{name: "two paths", fifo: true, paths: 2, life: simLife + simJitter, overtake: simJitter},
	// What is longer than some length gets lost, or is refused, for a while now
	// and then, so that frames are sent in parts.
	{name: "short frames at times", shrinks: true, life: simLife, overtake: -1},
	{name: "two paths, short frames at times", shrinks: true, fifo: true, paths: 2, life: simLife + simJitter, overtake: simJitter},
}

// TestSimulation runs an engine against a small disk through a network that
// loses, duplicates, delays and reorders, and checks what every read returns:
// for each sector the last write that was acknowledged, or one that is in
// doubt because it was canceled. Requests are few and overlap all the time.
//
// The target executes each transmission once: it remembers tags, which is its
// half of the guard against stale writes (H1). Retransmissions have tags of
// their own; guarding against those is the engine's half.
func TestSimulation(t *testing.T) {
	first, last := simSeeds(t)
	for _, cfg := range networks {
		t.Run(cfg.name, func(t *testing.T) {
			total, seed := simulateAll(first, last, cfg)
			if total.err != nil {
				t.Fatalf("seed %d: %v\nreplay with: go test ./initiator/engine -run TestSimulation -seed %d", seed, total.err, seed)
			}
			t.Logf("%d seeds: %d requests, %d frames sent again, %d fences, %d writes held by them, %d ordered, %d copies executed late",
				last-first+1, total.requests, total.again, total.fences, total.fenced, total.ordered, total.lateCopies)
			if cfg.shrinks && *simSeed == 0 && total.cut == 0 {
				t.Error("no frame was sent in parts")
			}
			if *simSeed == 0 && (total.fenced == 0 || total.ordered == 0 || total.lateCopies == 0) {
				t.Error("the simulation does not reach what it is there for")
			}
		})
	}
}

// simSeeds are the first and the last seed for each network.
func simSeeds(t *testing.T) (first, last uint64) {
	t.Helper()
	if *simSeed != 0 {
		return *simSeed, *simSeed
	}
	seeds := os.Getenv("AOE_SEEDS")
	switch {
	case *simRuns > 0:
		return 1, uint64(*simRuns)
	case seeds != "":
		n, err := strconv.ParseUint(seeds, 10, 32)
		if err != nil || n == 0 {
			t.Fatalf("AOE_SEEDS is %q: want how many seeds the simulation is to run", seeds)
		}
		return 1, n
	case long():
		return 1, 100_000
	case testing.Short():
		return 1, 30
	}
	return 1, 300
}

// simulateAll simulates every seed, as many at a time as there are processors.
// If one fails, the others end, and it is told which.
func simulateAll(first, last uint64, cfg simConfig) (total simResult, failed uint64) {
	var mu sync.Mutex
	next := first
	take := func(r simResult, seed uint64) (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if r.err != nil && total.err == nil {
			total.err, failed = r.err, seed
		}
		total.add(r)
		next++
		return next - 1, next-1 <= last && total.err == nil
	}
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed, more := take(simResult{}, 0); more; {
				seed, more = take(simulate(seed, cfg), seed)
			}
		})
	}
	all.Wait()
	return total, failed
}

// TestH1SimulationCatchesAMissingFence is the canary: with the fence as good as
// gone, or trusting an order that the network does not keep, some seed shows
// an undone write.
func TestH1SimulationCatchesAMissingFence(t *testing.T) {
	for name, cfg := range map[string]simConfig{
		"frames live longer than thought":       {life: time.Nanosecond, overtake: -1},
		"order where there is none":             {life: simLife, overtake: time.Nanosecond},
		"less order than thought":               {fifo: true, life: time.Hour, overtake: time.Nanosecond},
		"two paths, and frames outlive thought": {fifo: true, paths: 2, life: simLife / 8, overtake: simJitter},
		"less order than thought, by a bit":     {fifo: true, life: time.Hour, overtake: simJitter / 4},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 5000; seed++ {
				if r := simulate(seed, cfg); r.err != nil {
					t.Logf("seed %d: %v", seed, r.err)
					return
				}
			}
			t.Error("5000 seeds, and no write was undone: the simulation is blind")
		})
	}
}

// simLife is the longest life of a frame in the simulated network.
const simLife = 40 * time.Millisecond

// simJitter is by how much frames overtake each other where there is order.
const simJitter = 3 * time.Millisecond

type simConfig struct {
	name           string
	fifo           bool          // the network keeps the order, within simJitter
	paths          int           // 0: 1
	shrinks        bool          // long frames get lost at times
	life, overtake time.Duration // as the engine believes
	power          powerConfig   // the target's machine comes and goes
}

type simResult struct {
	err                                                  error
	requests, again, fences, fenced, ordered, lateCopies uint64
	cut                                                  uint64
	powerResult
}

func (a *simResult) add(b simResult) {
	a.requests += b.requests
	a.again += b.again
	a.fences += b.fences
	a.fenced += b.fenced
	a.ordered += b.ordered
	a.lateCopies += b.lateCopies
	a.cut += b.cut
	a.powerResult.add(b.powerResult)
}

// An event is a frame that arrives, or (without one) a moment at which the
// client does something.
type event struct {
	frame    []byte
	toTarget bool
	port     int
}

const simSectors = 48

type sim struct {
	rng    *rand.Rand
	engine *Engine
	target *initiatortest.Target
	now    time.Duration
	queue  timeline.Queue[event]

	cfg               simConfig
	loss, twice, slow float64                // probabilities of this run
	arrived           map[lane]time.Duration // orderly: when the last frame there arrives
	deadUntil         [2]time.Duration       // of each path
	longest           [2]int                 // frame that it carries; 0: any
	executed          map[uint32][][]byte
	done              map[uint64]bool // writes that were acknowledged, by value

	ledger  ledger
	power   power
	written uint64 // values given out
	value   map[*Request]uint64
	live    []*Request
	left    int // requests still to be submitted
	result  simResult
}

// A lane is one direction of a path.
type lane struct {
	toTarget bool
	port     int
}

func simulate(seed uint64, cfg simConfig) simResult {
	s := &sim{
		cfg: cfg, arrived: map[lane]time.Duration{},
		rng: rand.New(rand.NewPCG(seed, 0)), target: newTarget(initiatortest.Config{Sectors: simSectors}),
		executed: map[uint32][][]byte{}, done: map[uint64]bool{}, value: map[*Request]uint64{}, left: 60,
	}
	s.loss, s.twice, s.slow = s.rng.Float64()*0.3, s.rng.Float64()*0.2, s.rng.Float64()*0.3
	s.ledger.begin()
	if cfg.power.on {
		s.plugIn()
	}
	paths := onePath
	if cfg.paths == 2 {
		paths = []Path{onePath[0], {Port: 1, Local: ours2, Remote: theirs2, Proven: true}}
	}
	frameLen := 0
	if cfg.shrinks {
		frameLen = frame.ATADataOffset + 8*frame.SectorSize
	}
	e, err := New(Config{
		FrameLen: frameLen, Addr: disk, Paths: paths, Buffers: 1 + s.rng.IntN(8), Identity: identityOf(s.target),
		Slots: 64, Window: 8, RTOFirst: ms(3), RTOMin: ms(1), RTOMax: ms(20), FlushRTO: ms(5), Silence: ms(60),
		DeadTime: -1, FrameLife: cfg.life, Overtake: cfg.overtake, Probe: ms(50), Rand: rand.NewPCG(seed, 1),
	})
	if err != nil {
		return simResult{err: err}
	}
	s.engine = e
	e.Start(0)
	s.at(0, nil, lane{})
	s.run()
	c := e.Counters()
	s.result.requests, s.result.again, s.result.fences = c.Requests, c.Retransmitted, c.Fences
	s.result.fenced, s.result.ordered, s.result.cut = c.Fenced, c.Ordered, c.Cut
	return s.result
}

func (s *sim) fail(format string, args ...any) {
	if s.result.err == nil {
		s.result.err = fmt.Errorf("at %v: "+format, append([]any{s.now}, args...)...)
	}
}

func (s *sim) at(t time.Duration, f []byte, l lane) {
	s.queue.Add(t, event{f, l.toTarget, l.port})
}

// carry puts a frame on the network.
func (s *sim) carry(f []byte, l lane) {
	if n := s.longest[l.port]; n > 0 && len(f) > n {
		return
	}
	f = bytes.Clone(f)
	if s.rng.Float64() >= s.loss && s.now >= s.deadUntil[l.port] {
		s.at(s.arrival(l), f, l)
	}
	if s.rng.Float64() < s.twice {
		s.at(s.arrival(l), f, l)
	}
}

// arrival is when a frame that is sent now arrives.
func (s *sim) arrival(l lane) time.Duration {
	at := s.now + s.delay()
	if s.cfg.fifo {
		at = max(at, s.arrived[l])
		s.arrived[l] = at
		at += time.Duration(s.rng.Int64N(int64(simJitter)))
	}
	return at
}

func (s *sim) delay() time.Duration {
	if s.rng.Float64() < s.slow {
		return time.Duration(s.rng.Int64N(int64(simLife)))
	}
	return 50*time.Microsecond + time.Duration(s.rng.Int64N(int64(200*time.Microsecond)))
}

// run ends when every request has, which the network does not prevent for ever.
func (s *sim) run() {
	for s.result.err == nil && (s.left > 0 || len(s.live) > 0) {
		if s.now > 10*time.Minute {
			s.fail("%d requests do not end", len(s.live))
			return
		}
		next := s.engine.Deadline()
		if s.queue.Len() > 0 && s.queue.Next() <= next {
			at, e := s.queue.Take()
			s.now = at
			switch {
			case e.frame == nil:
				s.client()
			case e.toTarget:
				s.execute(e.frame, e.port)
			default:
				s.receive(e.frame, e.port)
			}
		} else {
			s.now = max(s.now, next)
		}
		s.turn()
	}
	s.checkEnd()
}

func (s *sim) turn() {
	s.engine.Advance(s.now)
	for r := s.engine.Completed(); r != nil; r = s.engine.Completed() {
		s.ended(r)
	}
	out := make([][]byte, 3)
	for port := range max(s.cfg.paths, 1) {
		for n := s.engine.Drain(s.now, port, out); n > 0; n = s.engine.Drain(s.now, port, out) {
			for _, f := range out[:n] {
				s.carry(f, lane{true, port})
			}
		}
	}
	// "Send no more than is advertised" (I11).
	if g := s.engine.Gauges(); g.InFlight > g.Buffers {
		s.fail("%d frames in flight, the target has room for %d", g.InFlight, g.Buffers)
	}
	if d := s.engine.Deadline(); d <= s.now {
		s.fail("deadline %v is not after now", d)
	}
}

// client submits or cancels something.
func (s *sim) client() {
	if s.left > 0 && len(s.live) < 12 {
		s.left--
		lba := s.rng.Uint64N(simSectors)
		n := 1 + s.rng.Uint64N(min(16, simSectors-lba))
		var r *Request
		switch s.rng.IntN(10) {
		case 0:
			r = request(Flush, 0, 0, 0)
		case 1, 2, 3:
			r = request(Read, lba, n, 0)
		default:
			r = request(Write, lba, n, 0)
			s.written++
			s.value[r] = s.written
			for _, f := range r.Frames {
				for i := range f.Sectors {
					binary.BigEndian.PutUint64(f.Transmit[frame.ATADataOffset+i*frame.SectorSize:], s.written)
				}
			}
		}
		s.live = append(s.live, r)
		s.ledger.submitted(r)
		s.engine.Submit(s.now, r)
	}
	if len(s.live) > 0 && s.rng.IntN(20) == 0 {
		s.engine.Cancel(s.now, s.live[s.rng.IntN(len(s.live))])
	}
	if s.cfg.paths == 2 && s.rng.IntN(10) == 0 {
		port := s.rng.IntN(2)
		if s.now >= s.deadUntil[1-port] {
			s.deadUntil[port] = s.now + time.Duration(s.rng.Int64N(int64(200*time.Millisecond)))
		}
	}
	if s.cfg.shrinks && s.rng.IntN(20) == 0 {
		s.shrink()
	}
	if s.cfg.power.on && s.rng.IntN(12) == 0 {
		s.powerFails()
	}
	if s.left > 0 || len(s.live) > 0 {
		s.at(s.now+time.Duration(s.rng.Int64N(int64(4*time.Millisecond))), nil, lane{})
	}
}

// shrink changes the longest frame that a path carries, that our port takes, or
// the target: those of 8 sectors and less, of 4, of 2 and of 1.
func (s *sim) shrink() {
	n := 1 << s.rng.IntN(4)
	switch port := s.rng.IntN(max(s.cfg.paths, 1)); s.rng.IntN(3) {
	case 0:
		s.target.Change(func(c *initiatortest.Config) { c.MaxSectors = uint8(n) })
	case 1:
		s.engine.LinkChanged(s.now, port, []frame.MAC{ours, ours2}[port], true, n)
	default:
		s.longest[port] = frame.ATADataOffset + max(n, 2)*frame.SectorSize
	}
}

// execute is the target: each transmission once.
func (s *sim) execute(f []byte, port int) {
	if s.now < s.power.offUntil {
		return
	}
	tag := tagOf(f)
	replies, again := s.executed[tag]
	if !again {
		h, arg, _ := frame.Parse(f)
		if a, data, err := frame.ParseATA(arg); err == nil && h.Command == commandATA && a.Op.IsWrite() && s.done[binary.BigEndian.Uint64(data)] {
			s.result.lateCopies++
		}
		replies = s.target.Answer(f)
		s.executed[tag] = replies
	}
	for _, reply := range replies {
		copy(reply[6:12], [][]byte{theirs[:], theirs2[:]}[port])
		s.carry(reply, lane{false, port})
	}
}

// receive hands a reply to the engine and looks at what a read returns.
func (s *sim) receive(f []byte, port int) {
	r, i := s.engine.Receive(s.now, port, f)
	if r == nil || r.Kind != Read {
		return
	}
	fr := &r.Frames[i]
	data := f[frame.ATADataOffset:]
	for k := range fr.Count {
		got := binary.BigEndian.Uint64(data[k*frame.SectorSize:])
		s.check(fr.LBA+fr.From+k, got)
	}
}

// check: no overlapping write is in flight together with a read (H3), so what
// a sector may hold is known.
func (s *sim) check(lba, got uint64) {
	if may := s.ledger.may(lba); !slices.Contains(may, got) {
		s.fail("sector %d holds write %d, but may only hold one of %v", lba, got, may)
	}
}

// ended takes a result into the model.
func (s *sim) ended(r *Request) {
	for i, q := range s.live {
		if q == r {
			s.live = append(s.live[:i], s.live[i+1:]...)
			break
		}
	}
	switch o := r.Outcome(); {
	case o.Result == Forgotten && r.Kind == Flush:
		s.reported(r)
	case o.Result != OK && o.Result != Canceled:
		s.fail("request ended with %+v", o)
	case r.Kind == Flush && o.Result == OK:
		s.flushed(r)
	case r.Kind != Write:
	case o.Result == OK:
		s.done[s.value[r]] = true
		s.ledger.acknowledged(r, s.value[r])
	default:
		s.ledger.inDoubt(r, s.value[r])
	}
}

// checkEnd lets every frame arrive and then looks at the disk itself.
func (s *sim) checkEnd() {
	for s.queue.Len() > 0 && s.result.err == nil {
		at, e := s.queue.Take()
		s.now = at
		if e.toTarget {
			s.execute(e.frame, e.port)
		}
	}
	for lba := range uint64(simSectors) {
		if s.result.err == nil {
			s.check(lba, binary.BigEndian.Uint64(s.target.Bytes(int(lba)*frame.SectorSize, 8)))
		}
	}
}
