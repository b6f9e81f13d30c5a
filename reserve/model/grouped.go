package model

// Grouped is a reserve of pages, each of which takes all the objects that belong
// to one frame: head, data, and what is cloned from them.
type Grouped struct {
	Pages   int
	Objects int // of one frame

	// AnyOrder returns a page when the last of its objects is freed.
	// Otherwise a page is a stack: freeing its top shortens it, freeing
	// anything else does nothing, and only an empty page is returned.
	AnyOrder bool
}

const leaked = int(kinds) // the cell that counts pages that never come back

// Init is empty.
func (Grouped) Init() (c [cells]uint8) { return c }

// Add needs a page.
func (g Grouped) Add(s State, k Kind) []Choice {
	if int(total(g, s))+int(s.Store[leaked]) >= g.Pages {
		return nil
	}
	s.Store[k]++
	return []Choice{{s, 1}}
}

// Move frees the objects in some order, which is not up to the reserve.
func (g Grouped) Move(s State, from, to Kind) []State {
	s.Store[from]--
	if to != gone {
		s.Store[to]++
		return []State{s}
	}
	out := []State{s}
	if returned, orders := g.FreeOrders(); returned < orders {
		s.Store[leaked]++
		out = append(out, s)
	}
	return out
}

// Held is in the cell of that kind.
func (g Grouped) Held(s State, k Kind) uint8 { return s.Store[k] }

// FreeOrders frees a page's objects in every order there is, and counts those
// after which the page is returned.
func (g Grouped) FreeOrders() (returned, orders int) {
	var free func(live []bool, top int)
	free = func(live []bool, top int) {
		last := true
		for i := range live {
			if !live[i] {
				continue
			}
			last = false
			next := append([]bool(nil), live...)
			next[i] = false
			t := top
			if i == top-1 {
				t--
			}
			free(next, t)
		}
		if last {
			orders++
			if g.AnyOrder || top == 0 {
				returned++
			}
		}
	}
	live := make([]bool, g.Objects)
	for i := range live {
		live[i] = true
	}
	free(live, g.Objects)
	return returned, orders
}
