package model

import (
	"fmt"
	"sync"

	"aoe/reserve"
)

// Ours is this project's policy, and it is not a model of it: every step asks a
// real [reserve.Reserve] what happens. A Reserve cannot be copied for each state
// of a search, so one is built anew into the state, the one operation is done to
// it, and what it then says of itself is the next state. Answers are remembered,
// so that each question is asked once.
//
// That the state can be rebuilt from these few counts, whatever way has led
// to it, is not taken for granted: TestOursReplays walks every edge of the
// search on one reserve that lives from the beginning.
//
// The reserve has no budget for normal memory here, as in a crunch that does not
// end: it may map nothing beyond what it was made with.
type Ours struct {
	cfg OursConfig

	mu    sync.Mutex
	known map[question]answer
}

// OursConfig is the size of the reserve. All fields must be set.
type OursConfig struct {
	Reserve  int // buffers
	Stock    int // of these, guaranteed to the receive ring
	Requests int // grants: how many requests can be held or wait
}

// perRequest is the claim of a request of one frame: the frame itself, kept
// until it is answered, and room for the answer.
const perRequest = 2

// Where Ours keeps what.
const (
	oursReplies = int(Reply)   // in the stock, not classified
	oursForeign = int(Foreign) // the same
	oursDone    = int(kinds) + iota
	oursHeld    // grants held
	oursWaiting // grants in the queue
)

type op uint8

const (
	opAdmit op = iota
	opFinish
	opReply
	opForeign
	opDrop
)

type question struct {
	c  [cells]uint8
	op op
}

type answer struct {
	c  [cells]uint8
	ok bool
}

// NewOurs checks the configuration on a real reserve.
func NewOurs(cfg OursConfig) (*Ours, error) {
	o := &Ours{cfg: cfg, known: map[question]answer{}}
	if cfg.Stock < 1 || cfg.Requests < 1 || cfg.Reserve < cfg.Stock+perRequest {
		return nil, fmt.Errorf("model: %d buffers for a stock of %d and a request of %d: raise Reserve", cfg.Reserve, cfg.Stock, perRequest)
	}
	r, err := o.open()
	if err != nil {
		return nil, err
	}
	return o, r.close()
}

// Init is nothing held, nothing received.
func (o *Ours) Init() (c [cells]uint8) { return c }

// Add receives into the next slot of the stock, if there is one in this turn.
func (o *Ours) Add(s State, k Kind) []Choice {
	which := opForeign
	if k == Reply {
		which = opReply
	}
	if t, ok := o.do(s, which); ok {
		return []Choice{{t, 1}}
	}
	return nil
}

// Move frees a foreign frame at once. Replies are freed by Finish.
func (o *Ours) Move(s State, from, to Kind) []State {
	if from != Foreign || to != gone {
		panic(fmt.Sprintf("model: a frame of kind %d becomes %d in the reserve, which has no such step", from, to))
	}
	t, ok := o.do(s, opDrop)
	if !ok {
		return nil
	}
	return []State{t}
}

// Held is what lies in the stock, not yet classified.
func (o *Ours) Held(s State, k Kind) uint8 {
	if k == Reply || k == Foreign {
		return s.Store[k]
	}
	return 0
}

// Admit claims all that a request needs, or queues.
func (o *Ours) Admit(s State) (State, bool) { return o.do(s, opAdmit) }

// Finish exchanges the reply with its request's empty buffer, and releases the
// request.
func (o *Ours) Finish(s State) State {
	t, ok := o.do(s, opFinish)
	if !ok {
		panic("model: a reply in the stock and no request held: the step function lets replies come that nobody waits for")
	}
	return t
}

// Waiting is the length of the reserve's queue.
func (o *Ours) Waiting(s State) uint8 { return s.Store[oursWaiting] }

func (o *Ours) do(s State, which op) (State, bool) {
	q := question{s.Store, which}
	o.mu.Lock()
	defer o.mu.Unlock()
	a, ok := o.known[q]
	if !ok {
		a = o.ask(q)
		o.known[q] = a
	}
	s.Store = a.c
	return s, a.ok
}

// ask builds a reserve in the state of the question, and puts it.
func (o *Ours) ask(q question) answer {
	r, err := o.open()
	if err != nil {
		panic(fmt.Sprintf("model: the reserve that could be made a moment ago cannot now: %v", err))
	}
	r.build(q.c)
	ok := r.do(q.op)
	a := answer{r.cells(), ok}
	if err := r.close(); err != nil {
		panic("model: " + err.Error())
	}
	return a
}

// A driven is a real reserve and who uses it.
type driven struct {
	r       *reserve.Reserve
	stock   *reserve.Stock
	idle    []*reserve.Grant
	held    []*reserve.Grant
	waiting []*reserve.Grant

	frames [][]byte // of this turn
	turn   []Kind   // what was received in it; gone once it is classified
}

const frameBytes = 64

func (o *Ours) open() (*driven, error) {
	r, err := reserve.New(reserve.Config{BufferSize: frameBytes, Reserve: o.cfg.Reserve, KeepAvailable: -1})
	if err != nil {
		return nil, err
	}
	d := &driven{r: r, stock: r.NewStock(o.cfg.Stock, o.cfg.Stock)}
	for range o.cfg.Requests {
		d.idle = append(d.idle, r.NewGrant(perRequest))
	}
	d.frames = d.stock.Frames()
	return d, nil
}

// build does what leads to a state: frames that were classified in this turn
// were all foreign, which makes no difference.
func (d *driven) build(c [cells]uint8) {
	must := func(op op, n uint8) {
		for range n {
			if !d.do(op) {
				panic(fmt.Sprintf("model: the reserve does not get into the state %v", c))
			}
		}
	}
	must(opAdmit, c[oursHeld]+c[oursWaiting])
	must(opForeign, c[oursDone])
	if c[oursReplies]+c[oursForeign] == 0 && c[oursDone] > 0 {
		panic(fmt.Sprintf("model: %v is in a turn that has ended", c))
	}
	must(opReply, c[oursReplies])
	must(opForeign, c[oursForeign])
	must(opDrop, c[oursDone])
	if got := d.cells(); got != c {
		panic(fmt.Sprintf("model: the reserve is in state %v, not %v", got, c))
	}
}

// do is one operation; it reports whether it could be done.
func (d *driven) do(op op) bool {
	switch op {
	case opAdmit:
		return d.admit()
	case opReply, opForeign:
		return d.receive(op)
	case opDrop:
		slot := d.find(Foreign)
		if slot < 0 {
			return false
		}
		d.stock.Drop(slot)
		d.turn[slot] = gone
	case opFinish:
		slot := d.find(Reply)
		if slot < 0 || len(d.held) == 0 {
			return false
		}
		g := d.held[0]
		d.stock.Exchange(slot, g, perRequest-1)
		d.turn[slot] = gone
		d.held = d.held[1:]
		d.idle = append(d.idle, g)
		g.Release() // calls admitted, if somebody waits
	}
	d.endTurn()
	return true
}

func (d *driven) admit() bool {
	if len(d.idle) == 0 {
		return false
	}
	g := d.idle[0]
	d.idle = d.idle[1:]
	ok, err := d.r.AdmitFunc(g, perRequest, d.admitted)
	switch {
	case err != nil:
		panic("model: " + err.Error())
	case ok:
		d.held = append(d.held, g)
	default:
		d.waiting = append(d.waiting, g)
	}
	return true
}

// admitted is called by the reserve for the first in its queue.
func (d *driven) admitted(g *reserve.Grant, err error) {
	if err != nil || len(d.waiting) == 0 || d.waiting[0] != g {
		panic(fmt.Sprintf("model: the reserve woke another than the first, or with %v", err))
	}
	d.waiting = d.waiting[1:]
	d.held = append(d.held, g)
}

func (d *driven) receive(op op) bool {
	slot := len(d.turn)
	if slot >= len(d.frames) {
		return false
	}
	d.frames[slot] = d.frames[slot][:frameBytes/2]
	k := Foreign
	if op == opReply {
		k = Reply
	}
	d.turn = append(d.turn, k)
	return true
}

func (d *driven) find(k Kind) int {
	for i, have := range d.turn {
		if have == k {
			return i
		}
	}
	return -1
}

// endTurn: when all is classified the ring is given back to the card.
func (d *driven) endTurn() {
	for _, k := range d.turn {
		if k != gone {
			return
		}
	}
	d.turn = d.turn[:0]
	d.frames = d.stock.Frames()
}

// cells is the state, as far as possible in the reserve's own words.
func (d *driven) cells() (c [cells]uint8) {
	for _, k := range d.turn {
		switch k {
		case Reply:
			c[oursReplies]++
		case Foreign:
			c[oursForeign]++
		default:
			c[oursDone]++
		}
	}
	st := d.r.Stats()
	c[oursHeld] = uint8(st.Granted / perRequest)
	c[oursWaiting] = uint8(st.Queue)
	if st.Granted != perRequest*len(d.held) || st.Queue != len(d.waiting) || st.Stocked != len(d.frames) {
		panic(fmt.Sprintf("model: the reserve says %+v, whoever uses it has %d grants, %d waiting", st, len(d.held), len(d.waiting)))
	}
	return c
}

// close takes back what is out, so that the memory can be unmapped.
func (d *driven) close() error {
	for _, g := range d.waiting {
		d.r.Cancel(g)
	}
	d.waiting = nil
	for _, g := range d.held {
		g.Release()
	}
	return d.r.Close()
}
