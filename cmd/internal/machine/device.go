package machine

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// A device is a disk as the machine uses it, and the engine for it.
type device struct {
	m      *machine
	index  int
	disk   *disk
	engine *engine.Engine
	memory *memory

	dirty  []page
	busy   map[int]bool // blocks that are dirty, being written or read
	acked  []uint64     // the version of each block that was acknowledged last
	jobs   []*job
	idle   []*job
	active int

	share  int    // claims that it may have at a time
	held   int    // that it has, or waits for
	behind []*job // wait until it has fewer
}

// A memory is a reserve and the receive ring that is filled from it.
type memory struct {
	r     *reserve.Reserve
	stock *reserve.Stock
	ring  [][]byte // received, not yet looked at
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
	asked   bool // for its claim, and has not given it back
}

// addMemory makes a reserve that carries so many disks.
func (m *machine) addMemory(seed uint64, disks int) error {
	o := m.o
	faults := reserve.NewFaults(seed+uint64(len(m.memories))<<32, o.FaultMille)
	size := frame.ATADataOffset + blockSectors/o.Frames*frame.SectorSize
	r, err := reserve.New(reserve.Config{
		BufferSize: max(size, 600), Reserve: o.Stock + 2*o.Frames*o.AtOnce*disks, Normal: o.Normal,
		FailNormal: faults.Fail, KeepAvailable: -1,
	})
	if err == nil {
		m.memories = append(m.memories, &memory{r: r, stock: r.NewStock(o.Want, o.Stock)})
	}
	return err
}

// addDevice makes the next disk and an engine that believes in frames of that life.
func (m *machine) addDevice(seed uint64, life time.Duration) (err error) {
	o, index := m.o, len(m.devices)
	d := &device{
		m: m, index: index, memory: m.memories[min(index, len(m.memories)-1)], busy: map[int]bool{},
		disk:  &disk{index: index, data: make([]byte, o.Blocks*blockSectors*frame.SectorSize), buffers: o.Buffers},
		acked: make([]uint64, o.Blocks), share: o.Requests,
	}
	if o.Pool == Shares || o.Pool == Borrowing {
		d.share = o.AtOnce
	}
	for i := range o.Requests {
		j := &job{grant: d.memory.r.NewGrant(2 * o.Frames)}
		j.request.ID = uint32(i)
		j.request.Frames = make([]engine.Frame, o.Frames)
		d.jobs, d.idle = append(d.jobs, j), append(d.idle, j)
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	d.engine, err = engine.New(engine.Config{
		Addr: d.disk.addr(), Paths: []engine.Path{{Local: ourMAC, Remote: d.disk.mac(), Proven: true}}, Buffers: o.Buffers,
		Identity: engine.ReadIdentity(d.disk.identify().Append(nil)),
		Slots:    64, Window: 16, RTOFirst: ms(3), RTOMin: ms(1), RTOMax: ms(20), Silence: ms(60),
		DeadTime: -1, FrameLife: life, Overtake: -1, Probe: -1, Rand: rand.NewPCG(seed, uint64(7+index)),
	})
	if err != nil {
		return err
	}
	d.engine.Start(0)
	m.devices = append(m.devices, d)
	return nil
}

// lost says that this disk cannot be expected to finish anything.
func (d *device) lost() bool { return d.index == 0 && d.m.o.Fate == Dead }

// silent says that its target hears nothing now.
func (d *device) silent() bool {
	if d.index > 0 || d.m.now < d.m.o.FateAt {
		return false
	}
	return d.m.o.Fate == Dead || d.m.o.Fate == Away && !d.m.quiet
}

// clean says that nothing is left to be written or read.
func (d *device) clean() bool { return len(d.dirty)+d.active == 0 }

// write: an application writes to a page that is not there yet.
func (d *device) write() {
	m := d.m
	block := m.rng.IntN(m.o.Blocks)
	if m.free <= m.o.Watermark || d.busy[block] {
		return
	}
	m.free--
	m.count++
	d.busy[block] = true
	d.dirty = append(d.dirty, page{block, m.count})
}

// startRead: a block is read that nobody is writing.
func (d *device) startRead() {
	block := d.m.rng.IntN(d.m.o.Blocks)
	if d.busy[block] || len(d.idle) < 2 { // the last is for writing
		return
	}
	d.busy[block] = true
	d.take(page{block, d.acked[block]}, true)
}

// take has a request for a page.
func (d *device) take(p page, read bool) {
	j := d.idle[0]
	d.idle = d.idle[1:]
	d.active++
	j.page, j.read = p, read
	if d.held >= d.share {
		d.behind = append(d.behind, j)
		return
	}
	d.claim(j)
}

// claim asks for all that a request needs.
func (d *device) claim(j *job) {
	d.held++
	j.asked = true
	ok, err := d.memory.r.AdmitFunc(j.grant, 2*d.m.o.Frames, func(*reserve.Grant, error) { d.begin(j) })
	if err != nil {
		d.m.wrong("a claim was refused: %v", err)
	}
	if ok {
		d.begin(j)
	}
}

// begin encodes the frames of a request into its grant, and submits it.
func (d *device) begin(j *job) {
	sectors := blockSectors / d.m.o.Frames
	op := frame.OpWriteExt
	j.request.Kind = engine.Write
	if j.read {
		op, j.request.Kind = frame.OpReadExt, engine.Read
	}
	j.request.LBA, j.request.Sectors = uint64(j.page.block*blockSectors), blockSectors
	for i := range j.request.Frames {
		lba := j.request.LBA + uint64(i*sectors)
		h := frame.Header{Addr: d.disk.addr()}
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
	d.engine.Submit(d.m.now, &j.request)
}

// finish: a request has been answered completely.
func (d *device) finish(j *job) {
	m := d.m
	if o := j.request.Outcome(); o.Result != engine.OK {
		m.wrong("disk %d: block %d ended with %+v", d.index, j.page.block, o)
	}
	if j.read {
		m.result.Reads++
		for i, b := range j.grant.Buffers()[m.o.Frames:] {
			n := blockSectors / m.o.Frames * frame.SectorSize
			d.check("read", j.page.block*m.o.Frames+i, b.Data[frame.ATADataOffset:][:n], j.page.version)
		}
	} else {
		m.result.Writes++
		d.acked[j.page.block] = j.page.version
		m.free++
	}
	delete(d.busy, j.page.block)
	d.active--
	d.held--
	j.asked = false
	j.grant.Release() // may begin another
	d.idle = append(d.idle, j)
	if len(d.behind) > 0 {
		next := d.behind[0]
		d.behind = d.behind[1:]
		d.claim(next)
	}
}

// check compares sectors with the version that they must have.
func (d *device) check(what string, part int, data []byte, want uint64) {
	for i := 0; i < len(data); i += frame.SectorSize {
		a, b := binary.BigEndian.Uint64(data[i:]), binary.BigEndian.Uint64(data[i+frame.SectorSize-8:])
		if a != want || b != want {
			d.m.wrong("disk %d: %s of part %d has %d and %d, want %d", d.index, what, part, a, b, want)
		}
	}
}

// checkDisk looks at what is on the disk itself.
func (d *device) checkDisk() {
	for block, version := range d.acked {
		if d.busy[block] {
			continue // still under way: it may hold either
		}
		n := blockSectors * frame.SectorSize
		d.check("the disk", block, d.disk.data[block*n:][:n], version)
	}
}

// pages that are not free because of this disk.
func (d *device) pages() int {
	n := len(d.dirty) + d.active
	for _, j := range d.jobs {
		if j.read && d.isActive(j) {
			n--
		}
	}
	return n
}

func (d *device) isActive(j *job) bool {
	for _, i := range d.idle {
		if i == j {
			return false
		}
	}
	return true
}

// giveUp takes back what waits for memory, so that nothing begins any more.
func (d *device) giveUp() {
	for _, j := range d.jobs {
		if j.asked && d.memory.r.Cancel(j.grant) {
			j.asked = false
		}
	}
}

// release gives back what a run that did not end still holds.
func (d *device) release() {
	for _, j := range d.jobs {
		if j.asked {
			j.asked = false
			j.grant.Release()
		}
	}
}
