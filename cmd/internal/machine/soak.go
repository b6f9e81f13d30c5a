package machine

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A Soaked is a machine that has lived for long: rounds of faults, each followed by
// a rest in which everything is written. At the end of a rest nothing may be held
// by anybody.
type Soaked struct {
	Result
	Rounds  int           `json:"rounds"`
	Virtual time.Duration `json:"virtual"`
	Parts   []Part        `json:"parts"` // of the rounds, in order, equally many in each
	Uneven  string        `json:"uneven,omitempty"`
}

// soakParts is into how many parts a soak is divided.
const soakParts = 10

// A Part is what was counted in one part of the rounds. What is most is that of all
// their rests.
type Part struct {
	Requests int           `json:"requests"` // writes and reads
	Sent     uint64        `json:"sent"`     // frames
	Again    uint64        `json:"again"`
	Recovery time.Duration `json:"recovery"` // the longest
	Queued   int           `json:"queued"`   // most frames and turns to come
	Fences   int           `json:"fences"`   // most that were up
	Mapped   int           `json:"mapped"`   // most buffers of the reserve and of normal memory
	Crunches uint64        `json:"crunches"`
}

// Soak is one machine for so many rounds, in a safety phase with faults and a
// liveness phase each. The sockets that nobody reads are closed in between, or the
// flood would leave nothing to live in.
func Soak(seed uint64, below Below, rounds int) (Soaked, error) {
	return soak(seed, below, rounds, func(*machine) {})
}

// soak does something to the machine in each rest.
func soak(seed uint64, below Below, rounds int, spoil func(*machine)) (Soaked, error) {
	o := Draw(rand.New(rand.NewPCG(seed, uint64(below))), below)
	s := Soaked{Rounds: rounds}
	m, err := o.open(seed, rand.New(rand.NewPCG(seed, 0x50a4)), frameLife)
	if err != nil {
		return s, err
	}
	m.end() // counts what making it took
	parts := min(soakParts, max(rounds, 1))
	s.Parts = make([]Part, parts)
	for i := 0; i < rounds && m.result.Wrong == "" && !m.result.Dead; i++ {
		p := &s.Parts[i*parts/rounds]
		before := m.result
		m.quiet = false
		m.loop(m.now + safety)
		m.quiet = true
		begin := m.now
		m.loop(m.now + liveness)
		p.Recovery = max(p.Recovery, m.now-begin)
		m.free, m.unread = m.free+m.unread, 0
		spoil(m)
		m.end()
		m.rest(p)
		p.Requests += m.result.Writes + m.result.Reads - before.Writes - before.Reads
		p.Sent += m.result.Sent - before.Sent
		p.Again += m.result.Again - before.Again
		p.Crunches += m.result.Crunches - before.Crunches
	}
	s.Result, s.Virtual = m.result, m.now
	s.Uneven = s.uneven()
	return s, m.close()
}

// rest looks at everything that could be held, when nothing should be.
func (m *machine) rest(p *Part) {
	if m.result.Dead {
		return
	}
	mapped, fences := 0, 0
	for _, mem := range m.memories {
		st := mem.r.Stats()
		mapped += st.Total
		switch {
		case st.Granted != 0 || st.Queue != 0:
			m.wrong("at rest %d buffers are granted, and %d claims wait", st.Granted, st.Queue)
		case st.Free+st.Stocked != st.Total:
			m.wrong("at rest %d buffers are free and %d in the ring, of %d", st.Free, st.Stocked, st.Total)
		}
	}
	for _, d := range m.devices {
		g := d.engine.Gauges()
		fences += g.FencesUp
		switch {
		case g.InFlight != 0 || !d.engine.Idle():
			m.wrong("at rest %d frames are in flight", g.InFlight)
		case len(d.idle) != len(d.jobs):
			m.wrong("at rest %d of %d requests are idle", len(d.idle), len(d.jobs))
		}
	}
	p.Queued, p.Fences, p.Mapped = max(p.Queued, m.queue.Len()), max(p.Fences, fences), max(p.Mapped, mapped)
}

// uneven says what grew or dwindled from the first part to the last. A part is
// random, so that only what is not chance is uneven: half the work, or twice
// of what is held and more than a ring of frames.
func (s Soaked) uneven() string {
	if s.Dead || s.Wrong != "" || len(s.Parts) < soakParts {
		return ""
	}
	first, last := s.Parts[0], s.Parts[len(s.Parts)-1]
	for _, c := range []struct {
		what        string
		first, last int
	}{
		{"frames and turns to come", first.Queued, last.Queued},
		{"fences up", first.Fences, last.Fences},
		{"buffers mapped", first.Mapped, last.Mapped},
	} {
		if c.last > 2*c.first+32 {
			return fmt.Sprintf("%s: %d in the first part, %d in the last", c.what, c.first, c.last)
		}
	}
	if 2*last.Requests+64 < first.Requests {
		return fmt.Sprintf("%d requests in the first part, %d in the last", first.Requests, last.Requests)
	}
	return ""
}
