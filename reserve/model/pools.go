package model

// Pools are several mempools for receiving, one for each socket of an
// interface, because the socket that a frame is for is not known before it has
// been received: so one is picked by chance.
type Pools struct {
	Count  int // of pools, at most 8
	Frames int // in each
	TryAll bool
}

// A frame in a pool is a reply or foreign: it is dropped when it proves
// foreign, so that none stays.
const kindsInPool = 2

// Init is empty.
func (p Pools) Init() (c [cells]uint8) { return c }

// Add picks a pool, each with the same probability. With TryAll it picks until
// it finds one with room.
func (p Pools) Add(s State, k Kind) []Choice {
	var out []Choice
	room := 0
	for i := range p.Count {
		if p.held(s, i) >= p.Frames {
			continue
		}
		room++
		t := s
		t.Store[i*kindsInPool+int(k)]++
		out = p.merge(out, p.canonical(t))
	}
	among := p.Count
	if p.TryAll {
		among = room
	}
	for i := range out {
		out[i].Share /= float64(among)
	}
	return out
}

func (p Pools) held(s State, i int) int {
	return int(s.Store[i*kindsInPool+int(Reply)] + s.Store[i*kindsInPool+int(Foreign)])
}

// canonical sorts the pools: which is which does not matter.
func (p Pools) canonical(s State) State {
	pair := func(i int) [2]uint8 { return [2]uint8{s.Store[2*i], s.Store[2*i+1]} }
	for i := 1; i < p.Count; i++ {
		for j := i; j > 0; j-- {
			a, b := pair(j-1), pair(j)
			if a[0] > b[0] || a[0] == b[0] && a[1] >= b[1] {
				break
			}
			s.Store[2*j-2], s.Store[2*j-1], s.Store[2*j], s.Store[2*j+1] = b[0], b[1], a[0], a[1]
		}
	}
	return s
}

// merge counts pools that lead to the same state together.
func (p Pools) merge(out []Choice, s State) []Choice {
	for i := range out {
		if out[i].To == s {
			out[i].Share++
			return out
		}
	}
	return append(out, Choice{s, 1})
}

// Move frees a frame of any pool that has one of that kind.
func (p Pools) Move(s State, from, to Kind) []State {
	if to != gone {
		panic("model: Pools keep no frame that has been classified: set DropForeign")
	}
	var out []Choice
	for i := range p.Count {
		if c := i*kindsInPool + int(from); s.Store[c] > 0 {
			t := s
			t.Store[c]--
			out = p.merge(out, p.canonical(t))
		}
	}
	states := make([]State, len(out))
	for i := range out {
		states[i] = out[i].To
	}
	return states
}

// Held adds up the pools.
func (p Pools) Held(s State, k Kind) uint8 {
	var n uint8
	for i := 0; k < kindsInPool && i < p.Count; i++ {
		n += s.Store[i*kindsInPool+int(k)]
	}
	return n
}
