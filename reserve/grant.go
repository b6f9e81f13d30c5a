package reserve

import "fmt"

type phase uint8

const (
	idle phase = iota
	queued
	held
)

// A Grant is a claim that is made again and again: everything one request will
// need until it is finished. It belongs to whoever admits it; it may not be
// admitted while it is held or waits (I3): a nested need is a larger claim.
type Grant struct {
	r       *Reserve
	number  int
	max     int
	buffers []*Buffer // of the claim; capacity max

	// Guarded by Reserve.mu while the grant waits, its owner's otherwise.
	phase phase
	n     int // the claim
	f     func(*Grant, error)
	err   error
	prev  *Grant
	next  *Grant

	ready chan struct{} // one token when a blocking Admit is to wake up
}

// MaxClaim is the largest claim that is always served in the end: what the
// reserve does not guarantee to the stocks that have been made.
func (r *Reserve) MaxClaim() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claimable()
}

// NewGrant makes a grant for claims of up to most buffers. It panics after
// Seal, and when the reserve could never serve such a claim.
func (r *Reserve) NewGrant(most int) *Grant {
	r.mu.Lock()
	defer r.unlock()
	if r.sealed {
		panic("reserve: NewGrant after Seal: make every grant at start")
	}
	if most < 1 || most > r.claimable() {
		panic(fmt.Sprintf("reserve: NewGrant(%d): the reserve guarantees 1 to %d buffers to a claim", most, r.claimable()))
	}
	g := &Grant{r: r, number: r.grants, max: most, buffers: make([]*Buffer, 0, most), ready: make(chan struct{}, 1)}
	r.grants++
	r.largest = max(r.largest, most)
	return g
}

// Buffers are the buffers of a held grant, exactly as many as were claimed. They
// are the caller's until Release; the slice is valid as long, and Exchange
// changes its elements.
func (g *Grant) Buffers() []*Buffer { return g.buffers }

// Release frees the buffers, and then gives the claim back to whoever waits
// (I8). It may be called from any goroutine, and never blocks. Releasing what
// is not held panics.
func (g *Grant) Release() {
	r := g.r
	r.mu.Lock()
	r.release(g)
	r.released()
	r.serve()
	r.unlock()
}

// release frees first. Only serve, afterwards, gives the credit away: a waiter
// that is admitted for the last unit finds it there.
func (r *Reserve) release(g *Grant) {
	if g.phase != held {
		r.mu.Unlock()
		panic(fmt.Sprintf("reserve: double release of grant %d", g.number))
	}
	for i, b := range g.buffers {
		r.put(b, granted)
		g.buffers[i] = nil
	}
	r.granted -= len(g.buffers)
	g.buffers = g.buffers[:0]
	g.phase = idle
	if r.missing() > 0 && r.freeNormal() > 0 {
		r.version.Add(1)
	}
}

// A queue is a list of grants, first in, first out, that needs no memory.
type queue struct {
	first, last *Grant
	n           int
}

func (q *queue) push(g *Grant) {
	g.prev, g.next = q.last, nil
	if q.last != nil {
		q.last.next = g
	} else {
		q.first = g
	}
	q.last = g
	q.n++
}

func (q *queue) remove(g *Grant) {
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		q.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	} else {
		q.last = g.prev
	}
	g.prev, g.next = nil, nil
	q.n--
}

func (q *queue) pop() *Grant {
	g := q.first
	if g != nil {
		q.remove(g)
	}
	return g
}
