package machine

import (
	"encoding/binary"
	"time"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

// carry puts a frame on the network, which loses nothing in the liveness phase.
func (d *device) carry(f []byte, to bool) {
	m := d.m
	if to {
		m.result.Sent++
	}
	e := event{d, append([]byte(nil), f...), to}
	if m.quiet || m.rng.Float64() >= m.o.Loss {
		m.queue.Add(m.now+d.delay(to), e)
	}
	if !to && !m.quiet && m.rng.Float64() < m.o.Twice {
		m.queue.Add(m.now+d.delay(to), e)
	}
}

// delay is how long a frame is under way. What a late target answers waits there,
// in the liveness phase too.
func (d *device) delay(to bool) (way time.Duration) {
	m := d.m
	if d.index == 0 && m.o.Fate == Late && !to && m.now >= m.o.FateAt {
		way = time.Duration(m.rng.Int64N(int64(m.o.Lateness)))
	}
	if !m.quiet && m.rng.Float64() < m.o.Slow {
		return way + time.Duration(m.rng.Int64N(int64(frameLife)))
	}
	return way + 5*time.Microsecond + time.Duration(m.rng.Int64N(int64(m.o.Delay)))
}

// hear: a request has come to the target.
func (d *device) hear(f []byte) {
	if d.silent() {
		return
	}
	if reply := d.disk.answer(f); reply != nil {
		d.carry(reply, false)
	}
}

// arrive: a frame that is ours, or looks like it, comes off the wire.
func (d *device) arrive(f []byte) {
	m := d.m
	switch {
	case m.o.Below != OwnQueue && m.card == 0, len(d.memory.ring) >= d.memory.slots():
		m.result.NoRoom++
	default: // copied into the ring; the card's page is free and at once its own again
		d.memory.ring = append(d.memory.ring, f)
		m.result.Received++
	}
}

// slots is how many frames the ring takes in a turn.
func (mem *memory) slots() int { return len(mem.stock.Frames()) }

// flood: so many foreign frames arrive. What finds no memory is lost, so that no
// more than the machine's pages can matter.
func (m *machine) flood(n int) {
	for range min(n, m.o.Pages+m.o.Card) {
		switch {
		case m.unread >= m.o.Sockets:
			return // received, found to have no room in its socket, freed
		case m.o.Below == OwnQueue:
			if m.free == 0 {
				return
			}
			m.free--
			m.unread++
		case m.card == 0, m.o.Below == Guarded && m.free <= m.o.Watermark:
			return
		default:
			m.card--
			m.unread++
			m.refill()
		}
	}
}

// refill gives the card pages to receive into, if there are any.
func (m *machine) refill() {
	for m.card < m.o.Card && m.free > 0 {
		m.card++
		m.free--
	}
}

// classify is a turn of the receiver: each frame is kept or freed at once.
func (m *machine) classify() {
	if m.o.Below != OwnQueue {
		m.refill()
	}
	for _, mem := range m.memories {
		frames := mem.stock.Frames()
		n := min(len(mem.ring), len(frames))
		for i, f := range mem.ring[:n] {
			frames[i] = frames[i][:copy(frames[i], f)]
		}
		for i := range n {
			d := m.devices[deviceOf(frames[i])]
			r, k := d.engine.Receive(m.now, 0, frames[i])
			if r == nil {
				mem.stock.Drop(i)
				continue
			}
			mem.stock.Exchange(i, d.jobs[r.ID].grant, m.o.Frames+k)
		}
		mem.ring = mem.ring[:0]
	}
}

// forge makes an answer of the disk's to a request that was never made, and has it
// arrive.
func (d *device) forge() {
	h := frame.Header{Dst: ourMAC, Src: d.disk.mac(), Flags: frame.FlagResponse, Addr: d.disk.addr(), Command: aoe.CommandIssueATACommand}
	b := frame.Pad(frame.NewATA(frame.OpWriteExt, 0, 8).Append(h.Append(nil)))
	binary.BigEndian.PutUint32(b[20:], d.m.rng.Uint32()) // the tag
	frame.PutResult(b, frame.StatusDRDY, 0, 0)
	d.arrive(b)
}
