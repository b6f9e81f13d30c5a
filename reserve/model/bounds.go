package model

// Claims is a small world of its own: so many requests, each of which needs so
// many units of one pool until it is finished, and may begin again then.
type Claims struct {
	Requests  int // at most 8
	Units     int // each request needs
	Capacity  int // of the pool
	AllAtOnce bool
}

// Holding is how many units each request has, in descending order: which is
// which does not matter.
type Holding [8]uint8

// Finished is the event of a request that had all that it needs.
const Finished Event = "finish"

// Taken is the event of a request that takes one unit, or all.
const Taken Event = "take"

// Next is everything that can happen.
func (c Claims) Next(h Holding) []Step[Holding] {
	free := c.Capacity
	for _, n := range h {
		free -= int(n)
	}
	var out []Step[Holding]
	for i := range c.Requests {
		next, e := h, Taken
		switch {
		case int(h[i]) == c.Units:
			next[i], e = 0, Finished
		case c.AllAtOnce && free >= c.Units:
			next[i] = uint8(c.Units)
		case !c.AllAtOnce && free > 0:
			next[i]++
		default:
			continue
		}
		out = append(out, Step[Holding]{e, next.sorted()})
	}
	return out
}

func (h Holding) sorted() Holding {
	for i := 1; i < len(h); i++ {
		for j := i; j > 0 && h[j-1] < h[j]; j-- {
			h[j-1], h[j] = h[j], h[j-1]
		}
	}
	return h
}

// Dead is how many states there are from which no request can finish.
func (c Claims) Dead() int { return deadOf(Explore(Holding{}, c.Next)) }

func deadOf[S comparable](g *Graph[S]) int {
	dead := 0
	for _, d := range g.Distances(Finished) {
		if d < 0 {
			dead++
		}
	}
	return dead
}

// LeastCapacity is the smallest capacity with which no state is dead.
func (c Claims) LeastCapacity() int {
	return least(func(n int) bool { c.Capacity = n; return c.Dead() == 0 })
}

// Caches is another: one thread needs units from a pool that every thread may
// take units from into a cache of its own, where they lie idle.
type Caches struct {
	Threads  int // at most 8
	Cache    int // units each may keep
	Units    int // the first thread needs
	Capacity int
}

// Caching is who has what.
type Caching struct {
	Pool, Held uint8
	Cache      [8]uint8
}

// Init is everything in the pool.
func (c Caches) Init() Caching { return Caching{Pool: uint8(c.Capacity)} }

// Next is everything that can happen. Nobody steals from another's cache, and
// nobody gives back what it keeps.
func (c Caches) Next(s Caching) []Step[Caching] {
	var out []Step[Caching]
	for i := range c.Threads {
		if s.Pool > 0 && int(s.Cache[i]) < c.Cache {
			t := s
			t.Pool--
			t.Cache[i]++
			out = append(out, Step[Caching]{"cache", t})
		}
	}
	t := s
	switch {
	case int(s.Held) == c.Units:
		t.Pool += t.Held
		t.Held = 0
		return append(out, Step[Caching]{Finished, t})
	case s.Cache[0] > 0:
		t.Cache[0]--
	case s.Pool > 0:
		t.Pool--
	default:
		return out
	}
	t.Held++
	return append(out, Step[Caching]{Taken, t})
}

// Dead is how many states there are from which the thread never gets what it
// needs.
func (c Caches) Dead() int { return deadOf(Explore(c.Init(), c.Next)) }

// LeastCapacity is the smallest capacity with which no state is dead.
func (c Caches) LeastCapacity() int {
	return least(func(n int) bool { c.Capacity = n; return c.Dead() == 0 })
}

// searchLimit is where a search for a bound gives up: far above any that is
// expected of worlds of this size.
const searchLimit = 64

// least is the smallest n from 1 on that will do, and 0 if none will.
func least(will func(int) bool) int {
	for n := 1; n <= searchLimit; n++ {
		if will(n) {
			return n
		}
	}
	return 0
}

// SetAside is what a system keeps for the network.
type SetAside struct {
	Transmit, Receive int
	Drop              bool
}

// Lives reports whether a system that sets aside so much has no dead state.
func (r SetAside) Lives(pages int) bool {
	p := Policy{Transmit: r.Transmit, DropForeign: r.Drop}
	if r.Receive > 0 {
		p.Store = Shared(r.Receive)
	}
	v := World{Pages: pages, Policy: p}.Search()
	return v.Dead == 0 && v.Stuck == 0
}

// LeastForNoLoss is how many receive frames it takes that no reply ever finds
// them all in use, with so many writes at once (claims) and so many foreign
// frames unclassified at a time.
func LeastForNoLoss(claims, unclassified int) int {
	return least(func(n int) bool {
		w := World{Pages: claims, Turn: unclassified, Policy: Policy{
			Transmit: 1, Throttle: claims, Store: Shared(n), DropForeign: true, Order: SetAsideOnly,
		}}
		if unclassified == 0 {
			w.Flood = NoFlood
		}
		return w.Search().Losses == 0
	})
}

// LeastWatermark is how many pages must be kept from applications that a policy
// has no stuck state, and -1 if no number below all of them will do.
func LeastWatermark(p Policy, pages int) int {
	for n := range pages {
		if v := (World{Pages: pages, Policy: p, Watermark: n}).Search(); v.Stuck == 0 {
			return n
		}
	}
	return -1
}
