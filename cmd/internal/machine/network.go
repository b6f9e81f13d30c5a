package machine

import (
	"encoding/binary"
	"time"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

func (m *machine) at(t time.Duration, data []byte, to bool) { m.queue.Add(t, event{data, to}) }

// carry puts a frame on the network, which loses nothing in the liveness phase.
func (m *machine) carry(f []byte, to bool) {
	if to {
		m.result.Sent++
	}
	f = append([]byte(nil), f...)
	if m.quiet || m.rng.Float64() >= m.o.Loss {
		m.at(m.now+m.delay(), f, to)
	}
	if !to && !m.quiet && m.rng.Float64() < m.o.Twice {
		m.at(m.now+m.delay(), f, to)
	}
}

func (m *machine) delay() time.Duration {
	if !m.quiet && m.rng.Float64() < m.o.Slow {
		return time.Duration(m.rng.Int64N(int64(frameLife)))
	}
	return 5*time.Microsecond + time.Duration(m.rng.Int64N(int64(m.o.Delay)))
}

// arrive: a frame that is ours, or looks like it, comes off the wire.
func (m *machine) arrive(f []byte) {
	switch {
	case m.o.Below != OwnQueue && m.card == 0, len(m.ring) >= m.slots():
		m.result.NoRoom++
	default: // copied into the ring; the card's page is free and at once its own again
		m.ring = append(m.ring, f)
		m.result.Received++
	}
}

// slots is how many frames the ring takes in a turn.
func (m *machine) slots() int { return len(m.stock.Frames()) }

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
	frames := m.stock.Frames()
	n := min(len(m.ring), len(frames))
	for i, f := range m.ring[:n] {
		frames[i] = frames[i][:copy(frames[i], f)]
	}
	for i := range n {
		r, k := m.engine.Receive(m.now, 0, frames[i])
		if r == nil {
			m.stock.Drop(i)
			continue
		}
		m.stock.Exchange(i, m.jobs[r.ID].grant, m.o.Frames+k)
	}
	m.ring = m.ring[:0]
}

// forged is an answer of the disk's to a request that was never made.
func (m *machine) forged() []byte {
	h := frame.Header{Dst: ourMAC, Src: diskMAC, Flags: frame.FlagResponse, Addr: diskAddr, Command: aoe.CommandIssueATACommand}
	b := frame.Pad(frame.NewATA(frame.OpWriteExt, 0, 8).Append(h.Append(nil)))
	binary.BigEndian.PutUint32(b[20:], m.rng.Uint32()) // the tag
	frame.PutResult(b, frame.StatusDRDY, 0, 0)
	return b
}
