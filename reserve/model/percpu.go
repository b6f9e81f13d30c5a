package model

// PerCPU is a processor's own allocator. Memory that another processor frees is
// put on a list, which the owner looks through later.
type PerCPU struct {
	Frames int

	// Drain looks through the list when there is nothing left. Otherwise only
	// the owner's next free does.
	Drain bool
}

const remote = int(kinds) // the cell that counts frames on the list

// Init is empty.
func (PerCPU) Init() (c [cells]uint8) { return c }

// Add takes what is free to the owner.
func (p PerCPU) Add(s State, k Kind) []Choice {
	if int(total(p, s))+int(s.Store[remote]) >= p.Frames {
		if !p.Drain || s.Store[remote] == 0 {
			return nil
		}
		s.Store[remote] = 0
	}
	s.Store[k]++
	return []Choice{{s, 1}}
}

// Move frees on the owner's processor or on another: whoever reads a socket may
// run anywhere.
func (p PerCPU) Move(s State, from, to Kind) []State {
	s.Store[from]--
	if to != gone {
		s.Store[to]++
		return []State{s}
	}
	here, elsewhere := s, s
	here.Store[remote] = 0
	elsewhere.Store[remote]++
	return []State{here, elsewhere}
}

// Held is in the cell of that kind.
func (p PerCPU) Held(s State, k Kind) uint8 { return s.Store[k] }
