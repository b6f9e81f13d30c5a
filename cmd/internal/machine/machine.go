package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"aoe/frame/link/linktest/timeline"
)

const blockSectors = 8

// The phases, in virtual time.
const (
	safety   = 30 * time.Millisecond
	liveness = 5 * time.Second
)

// A Result is what became of a run.
type Result struct {
	Seed    uint64  `json:"seed"`
	Options Options `json:"options"`
	Dead    bool    `json:"dead"`            // not everything was written in the liveness phase
	Wrong   string  `json:"wrong,omitempty"` // what the disk or a read should have held

	Writes   int           `json:"writes"`
	Reads    int           `json:"reads"`
	Sent     uint64        `json:"sent"`     // frames
	Again    uint64        `json:"again"`    // of these, retransmissions
	Received uint64        `json:"received"` // frames that reached our ring
	Kept     uint64        `json:"kept"`     // of these, by exchange
	Freed    uint64        `json:"freed"`    // of these, at once
	NoRoom   uint64        `json:"noRoom"`   // frames that found none in the card or the ring
	Crunches uint64        `json:"crunches"` // of the reserve
	Reserved uint64        `json:"reserved"` // claims that took from the reserve
	Unread   int           `json:"unread"`   // pages in sockets that nobody reads, at the end
	Recovery time.Duration `json:"recovery"` // from the end of the faults until all was written
	Steps    int           `json:"steps"`
}

// An event is a frame that arrives, or a turn.
type event struct {
	device *device
	data   []byte // nil for a turn
	to     bool   // the disk
}

type machine struct {
	o        Options
	rng      *rand.Rand
	now      time.Duration
	queue    timeline.Queue[event]
	quiet    bool // the liveness phase
	devices  []*device
	memories []*memory // one for each disk, or one for all

	free, unread, card int // pages of memory
	count              uint64
	result             Result
}

// Run is one run, of a machine with one disk.
func Run(seed uint64, below Below) (Result, error) { return run(seed, below, frameLife) }

// RunSeveral is one run of a machine with several disks, one of whose targets is
// late, away for a while, or dead. The pool is drawn from the seed, if it is nil.
func RunSeveral(seed uint64, below Below, pool *Pool) (Result, error) {
	rng := rand.New(rand.NewPCG(seed, uint64(below)))
	o := Draw(rng, below)
	o.drawSeveral(rand.New(rand.NewPCG(seed, 0xd15c)), pool)
	return o.run(seed, rng, frameLife)
}

// run lets the engine believe in a frame's life that need not be true.
func run(seed uint64, below Below, life time.Duration) (Result, error) {
	rng := rand.New(rand.NewPCG(seed, uint64(below)))
	return Draw(rng, below).run(seed, rng, life)
}

func (o Options) run(seed uint64, rng *rand.Rand, life time.Duration) (Result, error) {
	m, err := o.open(seed, rng, life)
	if err != nil {
		return m.result, err
	}
	m.loop(safety)
	m.quiet = true
	begin := m.now
	m.loop(m.now + liveness)
	m.result.Recovery = m.now - begin
	m.end()
	return m.result, m.close()
}

// open makes a machine.
func (o Options) open(seed uint64, rng *rand.Rand, life time.Duration) (*machine, error) {
	m := &machine{o: o, rng: rng, free: o.Pages, card: o.Card}
	m.result.Seed, m.result.Options = seed, o
	memories := 1
	if o.Pool == Own {
		memories = o.Disks
	}
	for range memories {
		if err := m.addMemory(seed, o.Disks/memories); err != nil {
			return m, fmt.Errorf("machine: seed %d: %w", seed, errors.Join(err, m.close()))
		}
	}
	for range o.Disks {
		if err := m.addDevice(seed, life); err != nil {
			return m, fmt.Errorf("machine: seed %d: %w", seed, errors.Join(err, m.close()))
		}
	}
	m.queue.Add(0, event{})
	return m, nil
}

// loop runs until a moment, or in the liveness phase until all is clean.
func (m *machine) loop(end time.Duration) {
	for m.result.Wrong == "" && (!m.quiet || !m.clean()) {
		next := m.queue.Next()
		for _, d := range m.devices {
			next = min(next, d.engine.Deadline())
		}
		if next >= end {
			m.now = end
			return
		}
		m.now = max(m.now, next)
		m.result.Steps++
		if m.queue.Next() <= m.now {
			switch _, e := m.queue.Take(); {
			case e.data == nil:
				m.turn()
				m.queue.Add(m.now+m.o.Poll, event{})
			case e.to:
				e.device.hear(e.data)
			default:
				e.device.arrive(e.data)
			}
		}
		m.work()
	}
}

// clean says that every disk is that can be.
func (m *machine) clean() bool {
	for _, d := range m.devices {
		if !d.lost() && !d.clean() {
			return false
		}
	}
	return true
}

// any is one of the disks.
func (m *machine) any() *device {
	if len(m.devices) == 1 {
		return m.devices[0] // without asking for chance: old seeds are what they were
	}
	return m.devices[m.rng.IntN(len(m.devices))]
}

// turn is what happens once in each poll interval.
func (m *machine) turn() {
	m.flood(m.poisson(m.o.Flood))
	for range m.poisson(m.o.Forged) {
		m.any().forge()
	}
	m.classify()
	if m.quiet {
		return
	}
	for range m.poisson(m.o.DirtyRate) {
		m.any().write()
	}
	for range m.poisson(m.o.ReadRate) {
		m.any().startRead()
	}
	if m.o.Normal > 0 && m.rng.IntN(200) == 0 {
		short := m.rng.IntN(2) == 0
		for _, mem := range m.memories {
			mem.r.SetPressure(short)
		}
	}
}

// poisson is how many events of a rate fall into a poll interval.
func (m *machine) poisson(rate float64) int {
	mean := rate * m.o.Poll.Seconds()
	n := int(mean)
	if m.rng.Float64() < mean-float64(n) {
		n++
	}
	return n
}

// work submits what is dirty, and does what an owner of an engine does.
func (m *machine) work() {
	for _, d := range m.devices {
		for len(d.dirty) > 0 && len(d.idle) > 0 {
			p := d.dirty[0]
			d.dirty = d.dirty[1:]
			d.take(p, false)
		}
	}
	for _, d := range m.devices {
		d.engine.Advance(m.now)
		for r := d.engine.Completed(); r != nil; r = d.engine.Completed() {
			d.finish(d.jobs[r.ID]) // may begin a request of another disk
		}
	}
	out := make([][]byte, 8)
	for _, d := range m.devices {
		for n := d.engine.Drain(m.now, 0, out); n > 0; n = d.engine.Drain(m.now, 0, out) {
			for _, f := range out[:n] {
				if m.o.Below != OwnQueue && m.free == 0 {
					continue // ENOBUFS: as if lost
				}
				d.carry(f, true)
			}
		}
	}
}

func (m *machine) wrong(format string, args ...any) {
	if m.result.Wrong == "" {
		m.result.Wrong = fmt.Sprintf("at %v: ", m.now) + fmt.Sprintf(format, args...)
	}
}

// end looks at the disks.
func (m *machine) end() {
	r := &m.result
	r.Dead = !m.clean()
	r.Unread = m.unread
	r.Again, r.Crunches, r.Reserved, r.Kept, r.Freed = 0, 0, 0, 0, 0
	held := m.free + m.unread + m.card
	for _, d := range m.devices {
		d.checkDisk()
		held += d.pages()
		r.Again += d.engine.Counters().Retransmitted
	}
	for _, mem := range m.memories {
		st := mem.r.Stats()
		r.Crunches, r.Reserved = r.Crunches+st.ToCrunch, r.Reserved+st.FromReserve
		r.Kept, r.Freed = r.Kept+st.Exchanges, r.Freed+st.FreedAtOnce
	}
	if held != m.o.Pages+m.o.Card {
		m.wrong("%d pages, there were %d", held, m.o.Pages+m.o.Card)
	}
}

// close gives everything back, also what a dead run still holds.
func (m *machine) close() error {
	for _, d := range m.devices {
		d.giveUp()
	}
	var errs []error
	for _, d := range m.devices {
		d.release()
	}
	for _, mem := range m.memories {
		errs = append(errs, mem.r.Close())
	}
	return errors.Join(errs...)
}
