package fabric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
	"aoe/reserve"
)

// A request is 4 KiB, in frames that fit 1500 bytes.
const (
	requestFrames = 4
	frameSectors  = 2
	claim         = 2 * requestFrames
)

// turnTime is how long a host takes from the first frame that arrives until it
// looks at what has arrived.
const turnTime = 10 * time.Microsecond

// The receive ring of each reserve, in normal times.
const ringFrames = 64

// A protocol is an engine, or what stands in for it.
type protocol interface {
	Submit(now time.Duration, r *engine.Request)
	Advance(now time.Duration)
	Completed() *engine.Request
	Drain(now time.Duration, port int, out [][]byte) int
	Receive(now time.Duration, port int, b []byte) (*engine.Request, int)
	Deadline() time.Duration
	Counters() engine.Counters
	Gauges() engine.Gauges
}

// A host is an initiator.
type host struct {
	Initiator
	f       *fabric
	index   int
	disks   []*disk
	arenas  []*arena
	touched []*disk // whose protocol is to be looked at
	out     [][]byte
}

// An arena is a reserve and the receive ring that is filled from it.
type arena struct {
	r       *reserve.Reserve
	stock   *reserve.Stock
	ring    [][]byte // received, not looked at
	frames  [][]byte // the stock's, in a turn
	turning bool     // a turn is due
}

// A disk is one that a host uses.
type disk struct {
	h        *host
	a        *arena
	target   *target
	protocol protocol
	jobs     []*job
	share    int           // requests that may hold a claim
	held     int           // that do, or wait for one
	behind   []*job        // wait for another of the same disk
	timer    time.Duration // the event that is due
	isQueued bool          // in host.touched
	next     uint64        // block
	result   Disk
}

// A job is a request that is made again and again.
type job struct {
	d       *disk
	grant   *reserve.Grant
	request engine.Request
	block   uint64
	since   time.Duration // when it was wanted
	holds   bool          // its claim
	wanted  bool          // it is waited for: not one of an idle disk, nor one that failed
}

func newHost(f *fabric, index int, seed uint64) (*host, error) {
	h := &host{Initiator: f.cfg.Initiators[index], f: f, index: index, out: make([][]byte, 64)}
	n := len(h.Disks)
	if n == 0 || h.Claims%n != 0 || h.Claims == 0 {
		return nil, fmt.Errorf("initiator %d: %d claims for %d disks: want the same for each", index, h.Claims, n)
	}
	arenas := 1
	if h.Pool == Own {
		arenas = n
	}
	for range arenas {
		r, err := reserve.New(reserve.Config{
			BufferSize: frame.ATADataOffset + frameSectors*frame.SectorSize, Reserve: h.Claims/arenas*claim + ringFrames, KeepAvailable: -1,
		})
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.arenas = append(h.arenas, &arena{r: r, stock: r.NewStock(ringFrames, ringFrames)})
	}
	for i, t := range h.Disks {
		d := &disk{h: h, a: h.arenas[i%arenas], target: f.targets[t], share: h.Claims, timer: engine.Never}
		d.result.Initiator, d.result.Target = index, t
		if h.Pool == Shares {
			d.share = h.Claims / n
		}
		for j := range h.Requests {
			o := &job{d: d, grant: d.a.r.NewGrant(claim)}
			o.request.ID, o.request.Frames = uint32(j), make([]engine.Frame, requestFrames)
			d.jobs = append(d.jobs, o)
		}
		var err error
		if d.protocol, err = h.protocol(d, rand.NewPCG(seed, uint64(index)<<16|uint64(i))); err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.disks = append(h.disks, d)
	}
	return h, nil
}

func (h *host) protocol(d *disk, random rand.Source) (protocol, error) {
	local, remote := macOf(h.index), macOf(h.f.portOf(d.target.index))
	if h.Trusts {
		return newTrusting(d.target.addr(), local, remote, d.target.Advertised), nil
	}
	dead := h.DeadTime
	if dead <= 0 {
		dead = -1
	}
	e, err := engine.New(engine.Config{
		Addr: d.target.addr(), Paths: []engine.Path{{Local: local, Remote: remote, Proven: true}}, Buffers: d.target.Advertised,
		Identity: engine.ReadIdentity(identity().Append(nil)), FrameLen: frame.ATADataOffset + frameSectors*frame.SectorSize,
		Slots: 512, DeadTime: dead, Probe: -1, Rand: random,
	})
	if err == nil {
		e.Start(0)
	}
	return e, err
}

// start makes the first requests. No two hosts begin at the same moment.
func (h *host) start() {
	h.f.at(time.Duration(h.f.rng.Int64N(int64(time.Millisecond))), func() {
		for i := range h.Requests { // the disks take turns
			for k, d := range h.disks {
				if h.Wanting == nil || slices.Contains(h.Wanting, k) {
					d.want(d.jobs[i])
				}
			}
		}
		h.work()
	})
}

// arrive: a frame has come off the wire.
func (h *host) arrive(b []byte) {
	d := h.diskOf(b)
	if d == nil {
		return
	}
	a := d.a
	if len(a.ring) == ringFrames {
		h.f.result.RingLost++
		return
	}
	a.ring = append(a.ring, b)
	if !a.turning {
		a.turning = true
		h.f.at(h.f.now+turnTime, func() { h.turn(a) })
	}
}

func (h *host) diskOf(b []byte) *disk {
	from := int(b[10])<<8 | int(b[11])
	i := slices.Index(h.Disks, from-len(h.f.cfg.Initiators))
	if i < 0 {
		return nil
	}
	return h.disks[i]
}

// turn looks at what has arrived.
func (h *host) turn(a *arena) {
	a.turning = false
	a.frames = a.stock.Frames()
	frames := a.frames
	for i, b := range a.ring {
		frames[i] = frames[i][:copy(frames[i][:cap(frames[i])], b)]
		d := h.diskOf(b)
		r, k := d.protocol.Receive(h.f.now, 0, frames[i])
		d.keep(i, r, k)
		d.touch()
	}
	a.ring = a.ring[:0]
	h.work()
}

// keep keeps the frame in a slot of the ring for frame k of r. What answers only a
// part of it is copied.
func (d *disk) keep(slot int, r *engine.Request, k int) {
	if r == nil {
		d.a.stock.Drop(slot)
		return
	}
	f, grant := &r.Frames[k], d.jobs[r.ID].grant
	if f.Count == f.Sectors {
		d.a.stock.Exchange(slot, grant, requestFrames+k)
		return
	}
	if r.Kind == engine.Read {
		n := int(f.Count) * frame.SectorSize
		to := grant.Buffers()[requestFrames+k].Data[frame.ATADataOffset+int(f.From)*frame.SectorSize:]
		copy(to, d.a.frames[slot][frame.ATADataOffset:][:n])
	}
	d.a.stock.Drop(slot)
}

func (d *disk) touch() {
	if !d.isQueued {
		d.isQueued = true
		d.h.touched = append(d.h.touched, d)
	}
}

// work does what the owner of an engine does, for every disk that has something
// to do.
func (h *host) work() {
	now := h.f.now
	for len(h.touched) > 0 {
		d := h.touched[0]
		h.touched = h.touched[1:]
		d.isQueued = false
		d.protocol.Advance(now)
		for r := d.protocol.Completed(); r != nil; r = d.protocol.Completed() {
			d.finish(d.jobs[r.ID])
		}
		for n := d.protocol.Drain(now, 0, h.out); n > 0; n = d.protocol.Drain(now, 0, h.out) {
			for _, b := range h.out[:n] {
				h.f.send(h.index, b, nil)
			}
		}
		if at := d.protocol.Deadline(); at < d.timer {
			d.timer = at
			h.f.at(max(at, now), func() {
				if d.timer == at {
					d.timer = engine.Never
					d.touch()
					h.work()
				}
			})
		}
	}
}

// want: the application has another request.
func (d *disk) want(j *job) {
	j.wanted, j.since = true, d.h.f.now
	if d.held >= d.share {
		d.behind = append(d.behind, j)
		return
	}
	d.claim(j)
}

func (d *disk) claim(j *job) {
	d.held++
	ok, err := d.a.r.AdmitFunc(j.grant, claim, func(*reserve.Grant, error) { d.begin(j) })
	if err != nil {
		panic("fabric: " + err.Error()) // every claim fits
	}
	if ok {
		d.begin(j)
	}
}

// begin encodes the frames of a request into its grant, and submits it.
func (d *disk) begin(j *job) {
	r := &j.request
	j.holds, j.block = true, d.next
	d.next = (d.next + 1) % (diskSectors / (requestFrames * frameSectors))
	r.Kind, r.LBA, r.Sectors = engine.Read, j.block*requestFrames*frameSectors, requestFrames*frameSectors
	op := frame.OpReadExt
	if d.h.Writes {
		r.Kind, op = engine.Write, frame.OpWriteExt
	}
	for i := range r.Frames {
		lba := r.LBA + uint64(i*frameSectors)
		h := frame.Header{Addr: d.target.addr()}
		b := frame.NewATA(op, lba, frameSectors).Append(h.Append(j.grant.Buffers()[i].Data[:0]))
		if d.h.Writes {
			b = b[:len(b)+frameSectors*frame.SectorSize] // whatever is there: nobody looks at it
		}
		r.Frames[i] = engine.Frame{Transmit: frame.Pad(b), LBA: lba, Sectors: frameSectors}
	}
	d.protocol.Submit(d.h.f.now, r)
	d.touch()
}

// finish: a request has ended, and the next one begins.
func (d *disk) finish(j *job) {
	f := d.h.f
	if j.request.Outcome().Result != engine.OK {
		d.result.Failed++
		j.wanted = false
	} else {
		d.result.Requests++
		d.result.Took = append(d.result.Took, f.now-j.since)
		d.check(j)
	}
	j.holds = false
	d.held--
	j.grant.Release() // may begin one of another disk
	if len(d.behind) > 0 {
		first := d.behind[0]
		d.behind = d.behind[1:]
		d.claim(first)
	}
	if j.wanted {
		d.want(j)
	}
}

func (d *disk) check(j *job) {
	if d.h.Writes {
		return
	}
	for i := range uint64(requestFrames * frameSectors) {
		b := j.grant.Buffers()[requestFrames+i/frameSectors]
		at := frame.ATADataOffset + int(i%frameSectors)*frame.SectorSize
		if got, want := binary.BigEndian.Uint64(b.Data[at:]), j.request.LBA+i; got != want {
			d.h.f.result.Wrong = fmt.Sprintf("at %v: initiator %d, target %d: sector %d holds %d", d.h.f.now, d.h.index, d.target.index, want, got)
		}
	}
}

func (d *disk) sent() uint64  { return d.protocol.Counters().Sent }
func (d *disk) again() uint64 { return d.protocol.Counters().Retransmitted }

// end is what the run came to.
func (d *disk) end() {
	r := &d.result
	r.Sent, r.Again = r.Sent+d.sent(), r.Again+d.again()
	r.Window = d.protocol.Gauges().Window
	for _, j := range d.jobs {
		if j.wanted {
			r.Took = append(r.Took, d.h.f.now-j.since)
		}
	}
	slices.Sort(r.Took)
}

// close gives everything back, also what is under way.
func (h *host) close() error {
	each := func(do func(j *job)) {
		for _, d := range h.disks {
			for _, j := range d.jobs {
				do(j)
			}
		}
	}
	each(func(j *job) { j.d.a.r.Cancel(j.grant) }) // or releasing would begin them
	each(func(j *job) {
		if j.holds {
			j.grant.Release()
		}
	})
	var errs []error
	for _, a := range h.arenas {
		errs = append(errs, a.r.Close())
	}
	return errors.Join(errs...)
}
