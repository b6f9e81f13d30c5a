package model

import "slices"

// A Graph is every state that can be reached, and how.
type Graph[S comparable] struct {
	States []S // in the order in which they were found: the first is the beginning
	index  map[S]int32
	from   []int32 // the state that each was first reached from
	event  []Event // by what
	edges  []edge
}

type edge struct {
	from, to int32
	event    Event
}

// Explore visits every state that can be reached, breadth first, so that the
// way to a state that [Graph.Path] gives is a shortest one. What next returns,
// and in which order, may depend on the state alone.
func Explore[S comparable](init S, next func(S) []Step[S]) *Graph[S] {
	g := &Graph[S]{
		States: []S{init}, index: map[S]int32{init: 0},
		from: []int32{-1}, event: []Event{""},
	}
	for i := 0; i < len(g.States); i++ {
		for _, t := range next(g.States[i]) {
			to, seen := g.index[t.To]
			if !seen {
				to = int32(len(g.States))
				g.index[t.To] = to
				g.States = append(g.States, t.To)
				g.from = append(g.from, int32(i))
				g.event = append(g.event, t.Event)
			}
			g.edges = append(g.edges, edge{int32(i), to, t.Event})
		}
	}
	return g
}

// A Step is one thing that can happen in some world, and the state after it.
type Step[S comparable] struct {
	Event Event
	To    S
}

// Path is how a state is first reached.
func (g *Graph[S]) Path(i int) []Step[S] {
	var path []Step[S]
	for ; g.from[i] >= 0; i = int(g.from[i]) {
		path = append(path, Step[S]{g.event[i], g.States[i]})
	}
	for a, b := 0, len(path)-1; a < b; a, b = a+1, b-1 {
		path[a], path[b] = path[b], path[a]
	}
	return path
}

// Distances is, for each state, how many steps it takes at best until an event
// has happened, and -1 if it cannot happen any more, whatever does. Ways that
// need one of the events in without do not count.
func (g *Graph[S]) Distances(e Event, without ...Event) []int {
	back := make([][]int32, len(g.States))
	dist := make([]int, len(g.States))
	for i := range dist {
		dist[i] = -1
	}
	var queue []int32
	for _, d := range g.edges {
		if slices.Contains(without, d.event) {
			continue
		}
		back[d.to] = append(back[d.to], d.from)
		if d.event == e && dist[d.from] < 0 {
			dist[d.from] = 1
			queue = append(queue, d.from)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, j := range back[i] {
			if dist[j] < 0 {
				dist[j] = dist[i] + 1
				queue = append(queue, j)
			}
		}
	}
	return dist
}

// A Verdict is what the search found out about a world.
type Verdict struct {
	World  World
	States int
	Dead   int // states with a page to write from which no write can complete any more

	// Stuck are states from which a write can complete only if foreign frames
	// go on arriving, dead ones included. A policy that lives must not need
	// them: somebody else's frames are nobody's waker.
	Stuck int

	// Way is a shortest way to die, and nil when nothing is dead.
	Way []Step[State]

	// Farthest is the most steps that it takes, at best and without foreign
	// frames, to complete a write from any state that has a page to write and
	// is not stuck: the depth of the hole that one can always get out of.
	Farthest int

	MostHeld int // set-aside frames that are in use at once, at most
	Losses   int // states in which a reply that comes finds no memory
}

// Search explores a world. A state is dead when a page waits to be written and
// no sequence of events at all, however lucky, ends in a completed write: it
// does not depend on schedule, on fairness or on the flood going on.
func (w World) Search() Verdict {
	g := w.Graph()
	v := Verdict{World: w, States: len(g.States)}
	st := w.Policy.store()
	dist, alone := g.Distances(Completed), g.Distances(Completed, Flooded, Forged)
	first := -1
	for i, s := range g.States {
		v.MostHeld = max(v.MostHeld, int(total(st, s)))
		if w.awaited(s) > 0 && len(w.place(s, Reply)) == 0 {
			v.Losses++
		}
		if s.pending() == 0 {
			continue
		}
		v.Farthest = max(v.Farthest, alone[i])
		if alone[i] < 0 {
			v.Stuck++
		}
		if dist[i] < 0 {
			v.Dead++
			if first < 0 {
				first = i // the states come in order of distance
			}
		}
	}
	if first >= 0 {
		v.Way = g.Path(first)
	}
	return v
}

// Graph is every state of the world.
func (w World) Graph() *Graph[State] {
	return Explore(w.Init(), func(s State) []Step[State] {
		next := w.Next(s)
		steps := make([]Step[State], len(next))
		for i, t := range next {
			steps[i] = Step[State]{t.Event, t.To}
		}
		return steps
	})
}

// LossOfNext is the probability that a reply finds no memory in a store that so
// many foreign frames have been offered to, none of which is classified yet.
func LossOfNext(st Store, foreign int) float64 {
	at := map[State]float64{{Store: st.Init()}: 1}
	lost := 0.0
	for i := range foreign + 1 {
		k := Foreign
		if i == foreign {
			k = Reply
		}
		next := map[State]float64{}
		for s, p := range at {
			stays := p
			for _, c := range st.Add(s, k) {
				next[c.To] += p * c.Share
				stays -= p * c.Share
			}
			if k == Reply {
				lost += stays
			} else {
				next[s] += stays
			}
		}
		at = next
	}
	return max(0, lost)
}
