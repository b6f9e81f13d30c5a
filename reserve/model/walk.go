package model

import "math/rand/v2"

// Rates is how often things happen, in events per unit of time, when they can.
// The zero value of a field means that it never does.
type Rates struct {
	Dirty    float64 // applications write to pages
	Send     float64 // the system writes dirty pages
	Reply    float64 // the target answers each request that is out
	Flood    float64 // foreign frames arrive
	Forge    float64 // foreign frames arrive that look like ours
	Classify float64 // a frame is looked at, copied, exchanged or dropped
	Read     float64 // sockets are read, and frames consumed
	Lose     float64 // the link loses each message
	Resend   float64 // each lost request is sent again
	Refill   float64 // the card is given a page
}

// of is the rate of an event in a state.
func (r Rates) of(e Event, w World, s State) float64 {
	switch e {
	case Dirtied:
		return r.Dirty
	case Sent, Queued:
		return r.Send
	case Replied:
		return r.Reply * float64(w.awaited(s))
	case Flooded:
		return r.Flood
	case Forged:
		return r.Forge
	case Completed, Handed, Kept, Dropped, Refused:
		return r.Classify
	case Consumed:
		return r.Read
	case LostOnLink:
		return r.Lose * float64(w.awaited(s))
	case Resent:
		return r.Resend * float64(s.Lost)
	case Refilled:
		return r.Refill
	}
	return 0
}

// A Terrain is a world that has been searched, to be walked on by chance: the
// same step function, with clocks.
type Terrain struct {
	World World
	graph *Graph[State]
	dist  []int // steps to a completion, -1 when there is none
	out   [][]hop
}

type hop struct {
	event Event
	to    int32
	share float64
}

// Survey searches a world and prepares it for walks.
func (w World) Survey() *Terrain {
	t := &Terrain{World: w, graph: w.Graph()}
	t.dist = t.graph.Distances(Completed)
	t.out = make([][]hop, len(t.graph.States))
	for i, s := range t.graph.States {
		for _, tr := range w.Next(s) {
			t.out[i] = append(t.out[i], hop{tr.Event, t.graph.index[tr.To], tr.Share})
		}
	}
	return t
}

// Clocks is how often everything happens in every state of a terrain, worked
// out once for many walks. It does not change, and may be shared.
type Clocks struct {
	t    *Terrain
	sums [][]float64 // of each state: the rates of its hops, added up from the first on
}

// Clocks works out the rates.
func (t *Terrain) Clocks(r Rates) *Clocks {
	c := &Clocks{t: t, sums: make([][]float64, len(t.out))}
	for i, hops := range t.out {
		sum := 0.0
		c.sums[i] = make([]float64, len(hops))
		for j, h := range hops {
			sum += h.share * r.of(h.event, t.World, t.graph.States[i])
			c.sums[i][j] = sum
		}
	}
	return c
}

// A Walker is somewhere in a terrain, at some time. It belongs to one goroutine.
// The same generator and the same clocks give the same walk.
type Walker struct {
	t   *Terrain
	rng *rand.Rand
	at  int32

	Time        float64
	Steps       int
	Completions int
}

// Walk begins at the beginning.
func (t *Terrain) Walk(rng *rand.Rand) *Walker { return &Walker{t: t, rng: rng} }

// State is where the walker is.
func (w *Walker) State() State { return w.t.graph.States[w.at] }

// Dead reports whether nothing can be written any more.
func (w *Walker) Dead() bool { return w.t.dist[w.at] < 0 && w.State().pending() > 0 }

// Until walks until it is done, dead, or so much time has passed, and reports
// whether it was done. The clocks are the terrain's own.
func (w *Walker) Until(c *Clocks, duration float64, done func(State) bool) bool {
	if c.t != w.t {
		panic("model: clocks of another terrain")
	}
	end := w.Time + duration
	for {
		switch {
		case done(w.State()):
			return true
		case w.Dead() || !w.step(c, end):
			return false
		}
	}
}

// step lets the first clock ring: one event, or the end of time.
func (w *Walker) step(c *Clocks, end float64) bool {
	sums := c.sums[w.at]
	total := 0.0
	if len(sums) > 0 {
		total = sums[len(sums)-1]
	}
	if total > 0 {
		w.Time += w.rng.ExpFloat64() / total
	}
	if total == 0 || w.Time >= end {
		w.Time = end
		return false
	}
	x := w.rng.Float64() * total
	for i, sum := range sums {
		if x < sum {
			h := w.t.out[w.at][i]
			w.at = h.to
			w.Steps++
			if h.event == Completed {
				w.Completions++
			}
			return true
		}
	}
	return true // x was rounded up to the total: the next clock will ring
}
