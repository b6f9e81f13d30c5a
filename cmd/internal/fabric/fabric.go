package fabric

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest/timeline"
)

// A Config says who is on the fabric and for how long.
type Config struct {
	Initiators []Initiator
	Targets    []Target

	// Time is how long it is simulated; there is no default.
	Time time.Duration

	// Mark is when counting begins. Zero counts from the start.
	Mark time.Duration

	// Queue is how many frames the switch holds for each of its ports. Zero and
	// less mean DefaultQueue.
	Queue int
}

// DefaultQueue is what a cheap switch has for a port: some 128 KiB of 1 KiB frames.
const DefaultQueue = 128

// A Pool is how the memory of an initiator is divided among its disks.
type Pool uint8

// The pools.
const (
	// Own: each disk has a reserve of its own, an equal part of all. That is
	// what package initiator does.
	Own Pool = iota
	// Shares: one reserve, of which a disk may have no more than an equal part.
	Shares
	// Together: one reserve, for whoever comes first.
	Together
)

// String names the pool.
func (p Pool) String() string {
	return [...]string{"a reserve for each disk", "one reserve, in shares", "one reserve, first come"}[p]
}

// An Initiator is a host with disks, each of which is one target's.
type Initiator struct {
	Disks    []int // by index of Config.Targets
	Wanting  []int // by index of Disks, those that are used; nil means all
	Requests int   // kept under way for each of them, memory permitting
	Writes   bool  // and not reads
	Pool     Pool
	Claims   int  // requests that all its memory carries; a multiple of the disks
	Trusts   bool // the target's buffer count, instead of the engine's window

	// DeadTime is the engine's. Zero and less mean for ever.
	DeadTime time.Duration
}

// A Target has one disk, and serves one frame after another.
type Target struct {
	Advertised int           // frames that it says it holds
	Buffers    int           // frames that it holds
	Service    time.Duration // for each, on the average
	DiesAt     time.Duration // from when it answers nothing; zero: never
	Divides    bool          // its buffers equally among who asks, as package target does (H23)
	Lie        uint64        // is added to what a sector that is read should hold
}

// A Result is what a run came to, from Config.Mark on.
type Result struct {
	Disks []Disk // of all initiators, in order

	// Frames that found no room in the switch, in a target, and in a receive ring.
	SwitchLost, TargetLost, RingLost uint64

	Wrong string // what a read should have held
	Steps int
}

// A Disk is how one disk of an initiator fared.
type Disk struct {
	Initiator, Target int

	Requests, Failed int
	Sent, Again      uint64          // frames, and of these retransmissions
	Took             []time.Duration // each request, sorted, also what had not ended at the end
	Window           int             // at the end
}

// Worst is the longest that a request took, or had taken at the end.
func (d Disk) Worst() time.Duration {
	if len(d.Took) == 0 {
		return 0
	}
	return d.Took[len(d.Took)-1]
}

// A fabric is a run.
type fabric struct {
	cfg     Config
	rng     *rand.Rand
	now     time.Duration
	queue   timeline.Queue[func()]
	ports   []port // of the switch: the initiators', then the targets'
	hosts   []*host
	targets []*target
	result  Result
}

// Run is one run.
func Run(seed uint64, cfg Config) (Result, error) {
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	f := &fabric{cfg: cfg, rng: rand.New(rand.NewPCG(seed, 0xfab)), ports: make([]port, len(cfg.Initiators)+len(cfg.Targets))}
	for i, t := range cfg.Targets {
		f.targets = append(f.targets, &target{Target: t, f: f, index: i})
	}
	var err error
	for i := range cfg.Initiators {
		var h *host
		if h, err = newHost(f, i, seed); err != nil {
			break
		}
		f.hosts = append(f.hosts, h)
	}
	if err == nil {
		f.run()
	}
	for _, h := range f.hosts {
		err = errors.Join(err, h.close())
	}
	if err != nil {
		err = fmt.Errorf("fabric: seed %d: %w", seed, err)
	}
	return f.result, err
}

func (f *fabric) run() {
	for _, h := range f.hosts {
		h.start()
	}
	for marked := false; f.queue.Next() < f.cfg.Time && f.result.Wrong == ""; {
		at, do := f.queue.Take()
		if !marked && at >= f.cfg.Mark {
			marked = true
			f.mark()
		}
		f.now = at
		f.result.Steps++
		do()
	}
	f.now = f.cfg.Time
	for _, h := range f.hosts {
		for _, d := range h.disks {
			d.end()
			f.result.Disks = append(f.result.Disks, d.result)
		}
	}
}

// mark forgets what was counted until now.
func (f *fabric) mark() {
	f.result.SwitchLost, f.result.TargetLost, f.result.RingLost = 0, 0, 0
	for _, h := range f.hosts {
		for _, d := range h.disks {
			d.result.Requests, d.result.Failed, d.result.Took = 0, 0, nil
			d.result.Sent, d.result.Again = -d.sent(), -d.again()
		}
	}
}

// The network.

// A port is a cable between a host and the switch.
type port struct {
	up, down time.Duration // until when each way is busy
	queued   int           // frames in the switch
}

// cableDelay is for the cable, the cards and the switch, one way.
const cableDelay = 20 * time.Microsecond

// onWire is how long a frame occupies a cable: a nanosecond for each bit, with
// preamble, check sequence and the gap behind it.
func onWire(b []byte) time.Duration { return time.Duration(len(b)+24) * 8 }

// send puts a frame on the sender's cable, and calls gone when it has left it.
func (f *fabric) send(from int, b []byte, gone func()) {
	b = slices.Clone(b)
	p := &f.ports[from]
	p.up = max(p.up, f.now) + onWire(b)
	f.at(p.up+cableDelay, func() {
		if gone != nil {
			gone()
		}
		f.forward(b)
	})
}

// forward is the switch.
func (f *fabric) forward(b []byte) {
	to := int(b[4])<<8 | int(b[5]) // see macOf
	p := &f.ports[to]
	if p.queued >= f.cfg.Queue {
		f.result.SwitchLost++
		return
	}
	p.queued++
	p.down = max(p.down, f.now) + onWire(b)
	f.at(p.down, func() {
		p.queued--
		if n := len(f.hosts); to < n {
			f.hosts[to].arrive(b)
		} else {
			f.targets[to-n].arrive(b)
		}
	})
}

// macOf is the address of who is at a port.
func macOf(port int) frame.MAC { return frame.MAC{2, 0, 0, 0, byte(port >> 8), byte(port)} }

// portOf is the port of a target.
func (f *fabric) portOf(target int) int { return len(f.cfg.Initiators) + target }

func (f *fabric) at(t time.Duration, do func()) { f.queue.Add(t, do) }
