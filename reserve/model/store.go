package model

// A Store is how a policy keeps the memory that it has set aside for receiving.
// Its methods are functions of the state and of nothing else: what they
// remember is in State.Store, which belongs to the Store alone.
type Store interface {
	// Init is the state of the cells at the beginning.
	Init() [cells]uint8

	// Add is every way in which a frame that arrives can be given memory, and
	// with what probability; none when there is no room.
	Add(s State, k Kind) []Choice

	// Move is every way in which one frame of a kind, of which there is at
	// least one, becomes one of another kind, or is freed.
	Move(s State, from, to Kind) []State

	// Held is how many frames of a kind are in the memory that was set aside.
	Held(s State, k Kind) uint8
}

// A Choice is one outcome of giving a frame memory.
type Choice struct {
	To    State
	Share float64
}

// total is how many frames a store holds.
func total(st Store, s State) uint8 {
	var n uint8
	for k := range kinds {
		n += st.Held(s, k)
	}
	return n
}

// None is a Store of nothing: what policies have that set nothing aside for
// receiving.
type None struct{}

// Init is empty.
func (None) Init() (c [cells]uint8) { return c }

// Add finds no room.
func (None) Add(State, Kind) []Choice { return nil }

// Move is never called: there is nothing to move.
func (None) Move(State, Kind, Kind) []State { return nil }

// Held is zero.
func (None) Held(State, Kind) uint8 { return 0 }

// Shared is one store for so many frames, whoever they are for: a mempool.
type Shared int

// Init is empty.
func (Shared) Init() (c [cells]uint8) { return c }

// Add has room as long as it is not full.
func (n Shared) Add(s State, k Kind) []Choice {
	if int(total(n, s)) >= int(n) {
		return nil
	}
	s.Store[k]++
	return []Choice{{s, 1}}
}

// Move changes the counts.
func (n Shared) Move(s State, from, to Kind) []State {
	s.Store[from]--
	if to != gone {
		s.Store[to]++
	}
	return []State{s}
}

// Held is in the cell of that kind.
func (n Shared) Held(s State, k Kind) uint8 { return s.Store[k] }
