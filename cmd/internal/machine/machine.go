package machine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest/timeline"
	"aoe/initiator/engine"
	"aoe/reserve"
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

// A page that is dirty or being written.
type page struct {
	block   int
	version uint64
}

// A job is a request and its claim.
type job struct {
	grant   *reserve.Grant
	request engine.Request
	page    page
	read    bool
}

type event struct {
	data []byte // a frame, or nil for a turn
	to   bool   // the disk
}

type machine struct {
	o      Options
	rng    *rand.Rand
	now    time.Duration
	queue  timeline.Queue[event]
	quiet  bool // the liveness phase
	engine *engine.Engine
	disk   *disk
	r      *reserve.Reserve
	stock  *reserve.Stock

	// Memory, in pages.
	free, unread, card int
	dirty              []page
	busy               map[int]bool // blocks that are dirty, being written or read

	acked  []uint64 // the version of each block that was acknowledged last
	count  uint64
	jobs   []*job
	idle   []*job
	active int
	ring   [][]byte // received, not yet looked at
	result Result
}

// Run is one run.
func Run(seed uint64, below Below) (Result, error) { return run(seed, below, frameLife) }

// run lets the engine believe in a frame's life that need not be true.
func run(seed uint64, below Below, life time.Duration) (Result, error) {
	rng := rand.New(rand.NewPCG(seed, uint64(below)))
	m := &machine{o: Draw(rng, below), rng: rng, busy: map[int]bool{}}
	m.result.Seed, m.result.Options = seed, m.o
	if err := m.open(seed, life); err != nil {
		return m.result, fmt.Errorf("machine: seed %d: %w", seed, err)
	}
	m.loop(safety)
	m.quiet = true
	begin := m.now
	m.loop(m.now + liveness)
	m.result.Recovery = m.now - begin
	m.end()
	return m.result, m.close()
}

func (m *machine) open(seed uint64, life time.Duration) (err error) {
	o := m.o
	m.free, m.card = o.Pages, o.Card
	m.disk = &disk{data: make([]byte, o.Blocks*blockSectors*frame.SectorSize), buffers: o.Buffers}
	m.acked = make([]uint64, o.Blocks)
	faults := reserve.NewFaults(seed, o.FaultMille)
	size := frame.ATADataOffset + blockSectors/o.Frames*frame.SectorSize
	m.r, err = reserve.New(reserve.Config{
		BufferSize: max(size, 600), Reserve: o.Stock + 2*o.Frames*o.AtOnce, Normal: o.Normal,
		FailNormal: faults.Fail, KeepAvailable: -1,
	})
	if err != nil {
		return err
	}
	m.stock = m.r.NewStock(o.Want, o.Stock)
	for i := range o.Requests {
		j := &job{grant: m.r.NewGrant(2 * o.Frames)}
		j.request.ID = uint32(i)
		j.request.Frames = make([]engine.Frame, o.Frames)
		m.jobs, m.idle = append(m.jobs, j), append(m.idle, j)
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	m.engine, err = engine.New(engine.Config{
		Addr: diskAddr, Paths: []engine.Path{{Local: ourMAC, Remote: diskMAC, Proven: true}}, Buffers: o.Buffers,
		Identity: engine.ReadIdentity(m.disk.identify().Append(nil)),
		Slots:    64, Window: 16, RTOFirst: ms(3), RTOMin: ms(1), RTOMax: ms(20), Silence: ms(60),
		DeadTime: -1, FrameLife: life, Overtake: -1, Probe: -1, Rand: rand.NewPCG(seed, 7),
	})
	if err != nil {
		return err
	}
	m.engine.Start(0)
	m.at(0, nil, false)
	return nil
}

// loop runs until a moment, or in the liveness phase until all is clean.
func (m *machine) loop(end time.Duration) {
	for m.result.Wrong == "" && (!m.quiet || len(m.dirty)+m.active > 0) {
		next := min(m.engine.Deadline(), m.queue.Next())
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
				m.at(m.now+m.o.Poll, nil, false)
			case e.to:
				if reply := m.disk.answer(e.data); reply != nil {
					m.carry(reply, false)
				}
			default:
				m.arrive(e.data)
			}
		}
		m.work()
	}
}

// turn is what happens once in each poll interval.
func (m *machine) turn() {
	m.flood(m.poisson(m.o.Flood))
	for range m.poisson(m.o.Forged) {
		m.arrive(m.forged())
	}
	m.classify()
	if m.quiet {
		return
	}
	for range m.poisson(m.o.DirtyRate) {
		m.write()
	}
	for range m.poisson(m.o.ReadRate) {
		m.startRead()
	}
	if m.o.Normal > 0 && m.rng.IntN(200) == 0 {
		m.r.SetPressure(m.rng.IntN(2) == 0)
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

// write: an application writes to a page that is not there yet.
func (m *machine) write() {
	block := m.rng.IntN(m.o.Blocks)
	if m.free <= m.o.Watermark || m.busy[block] {
		return
	}
	m.free--
	m.count++
	m.busy[block] = true
	m.dirty = append(m.dirty, page{block, m.count})
}

// startRead: a block is read that nobody is writing.
func (m *machine) startRead() {
	block := m.rng.IntN(m.o.Blocks)
	if m.busy[block] || len(m.idle) < 2 { // the last is for writing
		return
	}
	m.busy[block] = true
	m.claim(page{block, m.acked[block]}, true)
}

// work submits what is dirty, and does what an owner of an engine does.
func (m *machine) work() {
	for len(m.dirty) > 0 && len(m.idle) > 0 {
		p := m.dirty[0]
		m.dirty = m.dirty[1:]
		m.claim(p, false)
	}
	m.engine.Advance(m.now)
	for r := m.engine.Completed(); r != nil; r = m.engine.Completed() {
		m.finish(m.jobs[r.ID])
	}
	out := make([][]byte, 8)
	for n := m.engine.Drain(m.now, 0, out); n > 0; n = m.engine.Drain(m.now, 0, out) {
		for _, f := range out[:n] {
			if m.o.Below != OwnQueue && m.free == 0 {
				continue // ENOBUFS: as if lost
			}
			m.carry(f, true)
		}
	}
}

// claim asks for all that a request needs.
func (m *machine) claim(p page, read bool) {
	j := m.idle[0]
	m.idle = m.idle[1:]
	m.active++
	j.page, j.read = p, read
	ok, err := m.r.AdmitFunc(j.grant, 2*m.o.Frames, func(*reserve.Grant, error) { m.begin(j) })
	if err != nil {
		m.wrong("a claim was refused: %v", err)
	}
	if ok {
		m.begin(j)
	}
}

// begin encodes the frames of a request into its grant, and submits it.
func (m *machine) begin(j *job) {
	sectors := blockSectors / m.o.Frames
	op := frame.OpWriteExt
	j.request.Kind = engine.Write
	if j.read {
		op, j.request.Kind = frame.OpReadExt, engine.Read
	}
	j.request.LBA, j.request.Sectors = uint64(j.page.block*blockSectors), blockSectors
	for i := range j.request.Frames {
		lba := j.request.LBA + uint64(i*sectors)
		h := frame.Header{Addr: diskAddr}
		b := frame.NewATA(op, lba, uint8(sectors)).Append(h.Append(j.grant.Buffers()[i].Data[:0]))
		if !j.read {
			for range sectors {
				var sector [frame.SectorSize]byte
				binary.BigEndian.PutUint64(sector[:], j.page.version)
				binary.BigEndian.PutUint64(sector[frame.SectorSize-8:], j.page.version)
				b = append(b, sector[:]...)
			}
		}
		j.request.Frames[i] = engine.Frame{Transmit: frame.Pad(b), LBA: lba, Sectors: uint64(sectors)}
	}
	m.engine.Submit(m.now, &j.request)
}

// finish: a request has been answered completely.
func (m *machine) finish(j *job) {
	if o := j.request.Outcome(); o.Result != engine.OK {
		m.wrong("block %d ended with %+v", j.page.block, o)
	}
	if j.read {
		m.result.Reads++
		for i, b := range j.grant.Buffers()[m.o.Frames:] {
			n := blockSectors / m.o.Frames * frame.SectorSize
			m.check("read", j.page.block*m.o.Frames+i, b.Data[frame.ATADataOffset:][:n], j.page.version)
		}
	} else {
		m.result.Writes++
		m.acked[j.page.block] = j.page.version
		m.free++
	}
	delete(m.busy, j.page.block)
	m.active--
	j.grant.Release() // may begin another
	m.idle = append(m.idle, j)
}

// check compares sectors with the version that they must have.
func (m *machine) check(what string, part int, data []byte, want uint64) {
	for i := 0; i < len(data); i += frame.SectorSize {
		a, b := binary.BigEndian.Uint64(data[i:]), binary.BigEndian.Uint64(data[i+frame.SectorSize-8:])
		if a != want || b != want {
			m.wrong("%s of part %d has %d and %d, want %d", what, part, a, b, want)
		}
	}
}

func (m *machine) wrong(format string, args ...any) {
	if m.result.Wrong == "" {
		m.result.Wrong = fmt.Sprintf("at %v: ", m.now) + fmt.Sprintf(format, args...)
	}
}

// end looks at the disk.
func (m *machine) end() {
	m.result.Dead = len(m.dirty)+m.active > 0
	m.result.Unread = m.unread
	for block, version := range m.acked {
		if m.busy[block] {
			continue // still under way: it may hold either
		}
		n := blockSectors * frame.SectorSize
		m.check("the disk", block, m.disk.data[block*n:][:n], version)
	}
	c, st := m.engine.Counters(), m.r.Stats()
	m.result.Again, m.result.Crunches, m.result.Reserved = c.Retransmitted, st.ToCrunch, st.FromReserve
	m.result.Kept, m.result.Freed = st.Exchanges, st.FreedAtOnce
	if held := m.free + m.unread + m.card + len(m.dirty) + m.writing(); held != m.o.Pages+m.o.Card {
		m.wrong("%d pages, there were %d", held, m.o.Pages+m.o.Card)
	}
}

func (m *machine) writing() int {
	n := m.active
	for _, j := range m.jobs {
		if j.read && m.isActive(j) {
			n--
		}
	}
	return n
}

func (m *machine) isActive(j *job) bool {
	for _, i := range m.idle {
		if i == j {
			return false
		}
	}
	return true
}

// close gives everything back, also what a dead run still holds.
func (m *machine) close() error {
	for _, j := range m.jobs {
		if m.isActive(j) && !m.r.Cancel(j.grant) {
			j.grant.Release()
		}
	}
	return m.r.Close()
}
