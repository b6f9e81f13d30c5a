package model

// A Flood is what becomes of frames that have nothing to do with the disk.
type Flood uint8

// The floods.
const (
	Retained Flood = iota // they lie in sockets that nobody reads
	ReadSoon              // they lie in sockets whose owner reads
	NoFlood               // there are none
)

// A World is a small machine with one disk on the network, and a policy. The
// target answers every request that reaches it, as often as it is asked.
type World struct {
	Pages  int // of memory that applications and the system share
	Policy Policy
	Flood  Flood
	Loss   bool // the link loses requests and replies

	// Watermark is the pages that applications may not have: the last that
	// are free serve sending and receiving only (vm.min_free_kbytes).
	Watermark int

	// Buffers is the most ordinary pages that the sockets nobody reads may hold
	// together. Zero means no limit but memory: there can always be more
	// sockets.
	Buffers int

	// Turn is the most foreign frames that are unclassified at a time. Zero
	// means no limit but memory.
	Turn int
}

// Init is the state at the beginning: all memory free.
func (w World) Init() State {
	return State{
		Free: uint8(w.Pages), Card: uint8(w.Policy.Card),
		Store: w.Policy.store().Init(),
	}
}

// Next is everything that can happen in a state. It is a pure function. What
// cannot happen for want of memory is not in the list: a frame that finds no
// room is lost, which changes nothing, and will be sent again.
func (w World) Next(s State) []Transition {
	out := make([]Transition, 0, 12)
	out = w.dirty(out, s)
	out = w.send(out, s)
	out = w.arrive(out, s)
	out = w.classifyReplies(out, s)
	out = w.classifyForeign(out, s)
	out = w.sockets(out, s)
	out = w.link(out, s)
	if int(s.Card) < w.Policy.Card && s.Free > 0 {
		t := s
		t.Free--
		t.Card++
		out = append(out, Transition{Refilled, t, 1})
	}
	return out
}

// dirty: an application needs a page, and a policy that lets it have one.
func (w World) dirty(out []Transition, s State) []Transition {
	p := w.Policy
	switch {
	case int(s.Free) <= w.Watermark,
		p.Throttle > 0 && int(s.pending()) >= p.Throttle,
		p.PerPage && int(s.pending()) >= p.Claim:
		return out
	}
	s.Free--
	s.Dirty++
	return append(out, Transition{Dirtied, s, 1})
}

// send: the write of a dirty page is submitted, and its frame is sent.
func (w World) send(out []Transition, s State) []Transition {
	p := w.Policy
	if s.Dirty == 0 {
		return out
	}
	if a, ok := p.Store.(Admitter); ok {
		if !p.NoCopies && s.Free == 0 {
			return out
		}
		t, ok := a.Admit(s)
		if !ok {
			return out
		}
		e := Sent
		if a.Waiting(t) > a.Waiting(s) {
			e = Queued
		}
		t.Dirty--
		t.Writing++
		return append(out, Transition{e, t, 1})
	}
	if p.Claim > 0 && int(s.Writing) >= p.Claim {
		return out
	}
	t, ok := w.transmit(s)
	if !ok {
		return out
	}
	t.Dirty--
	t.Writing++
	return append(out, Transition{Sent, t, 1})
}

// transmit finds memory for one frame to send: an ordinary page, then what was
// set aside. It stays taken only if the policy keeps what it has sent.
func (w World) transmit(s State) (State, bool) {
	p := w.Policy
	reserved := p.Transmit - int(s.SentReserve)
	switch {
	case p.Claim > 0 || p.NoCopies: // it was claimed before
	case s.Free > 0 && p.KeepSent:
		s.Free--
		s.SentOrdinary++
	case reserved > 0 && p.KeepSent:
		s.SentReserve++
	case s.Free == 0 && reserved <= 0:
		return s, false
	}
	return s, true
}

// awaited is how many replies the target may still send: to requests that
// have been sent and not lost, and whose reply is not here yet.
func (w World) awaited(s State) int {
	st := w.Policy.store()
	here := s.Ordinary[Reply] + s.Ordinary[Delivered] + st.Held(s, Reply) + st.Held(s, Delivered)
	n := int(s.Writing) - int(s.Lost) - int(here)
	if a, ok := st.(Admitter); ok {
		n -= int(a.Waiting(s))
	}
	return n
}

// arrive: a reply, and a frame of somebody else's.
func (w World) arrive(out []Transition, s State) []Transition {
	if w.awaited(s) > 0 {
		for _, c := range w.place(s, Reply) {
			out = append(out, Transition{Replied, c.To, c.Share})
		}
	}
	unclassified := int(s.Ordinary[Foreign] + w.Policy.store().Held(s, Foreign))
	if w.Flood == NoFlood || w.Turn > 0 && unclassified >= w.Turn {
		return out
	}
	for _, c := range w.place(s, Foreign) {
		out = append(out, Transition{Flooded, c.To, c.Share})
	}
	for _, c := range w.placeForged(s) {
		out = append(out, Transition{Forged, c.To, c.Share})
	}
	return out
}

// placeForged gives a frame memory that a filter takes for ours. Only where
// foreign frames otherwise stay out of what was set aside does it make a
// difference.
func (w World) placeForged(s State) []Choice {
	p := w.Policy
	switch {
	case p.Order != Own:
		return nil
	case p.Card > 0 && s.Card == 0:
		return nil
	case p.Card > 0: // copied, and the page is free again
		s.Card--
		s.Free++
	}
	return p.store().Add(s, Foreign)
}

// place gives an arriving frame memory.
func (w World) place(s State, k Kind) []Choice {
	p := w.Policy
	if p.Card > 0 {
		return w.placeFromCard(s, k)
	}
	ordinary := s.Free > 0
	switch p.Order {
	case SetAsideOnly:
		ordinary = false
	case FilterFirst, Own:
		ordinary = ordinary && k == Foreign
	}
	var out []Choice
	if ordinary {
		t := s
		t.Free--
		t.Ordinary[k]++
		out = append(out, Choice{t, 1})
	}
	filtered := p.Order == FilterFirst || p.Order == Own
	if !ordinary && (k == Reply || !filtered) {
		out = append(out, p.store().Add(s, k)...)
	}
	return out
}

// placeFromCard: the card has received into a page of its own, which leaves it
// with the frame. What is ours is copied into what was set aside, and the page
// is free again; what is not keeps the page, unless a guard drops it.
func (w World) placeFromCard(s State, k Kind) []Choice {
	p := w.Policy
	if s.Card == 0 {
		return nil
	}
	s.Card--
	switch {
	case k == Foreign && p.Guard && int(s.Free) <= w.Watermark:
		return nil
	case k == Foreign || p.Store == nil:
		s.Ordinary[k]++
		return []Choice{{s, 1}}
	}
	s.Free++
	return p.store().Add(s, k)
}

// classifyReplies: a frame proves to be ours.
func (w World) classifyReplies(out []Transition, s State) []Transition {
	p, st := w.Policy, w.Policy.store()
	if s.Ordinary[Reply] > 0 {
		t := s
		t.Ordinary[Reply]--
		if p.TwoSteps {
			t.Ordinary[Delivered]++
			out = append(out, Transition{Handed, t, 1})
		} else {
			t.Free++
			out = w.complete(out, t)
		}
	}
	if st.Held(s, Reply) == 0 {
		return out
	}
	switch {
	case p.OffList, p.Limit > 0 && !p.Exempt && int(st.Held(s, Unread)+st.Held(s, Read)) >= p.Limit:
		return w.move(out, Refused, s, Reply, gone)
	case p.TwoSteps:
		return w.move(out, Handed, s, Reply, Delivered)
	}
	if a, ok := st.(Admitter); ok {
		return w.complete(out, a.Finish(s))
	}
	for _, t := range st.Move(s, Reply, gone) {
		out = w.complete(out, t)
	}
	return out
}

// complete: the page of an answered write is clean and free, and so is the
// frame that was kept to send the request again.
func (w World) complete(out []Transition, s State) []Transition {
	s.Writing--
	s.Free++
	if !w.Policy.KeepSent {
		return append(out, Transition{Completed, s, 1})
	}
	if s.SentReserve > 0 {
		t := s
		t.SentReserve--
		out = append(out, Transition{Completed, t, 1})
	}
	if s.SentOrdinary > 0 {
		t := s
		t.SentOrdinary--
		t.Free++
		out = append(out, Transition{Completed, t, 1})
	}
	return out
}

// classifyForeign: a frame proves to be somebody else's.
func (w World) classifyForeign(out []Transition, s State) []Transition {
	p, st := w.Policy, w.Policy.store()
	socket := Unread
	if w.Flood == ReadSoon {
		socket = Read
	}
	if s.Ordinary[Foreign] > 0 {
		t := s
		t.Ordinary[Foreign]--
		if w.Buffers > 0 && socket == Unread && int(s.Ordinary[Unread]) >= w.Buffers {
			t.Free++
			out = append(out, Transition{Dropped, t, 1})
		} else {
			t.Ordinary[socket]++
			out = append(out, Transition{Kept, t, 1})
		}
	}
	switch {
	case st.Held(s, Foreign) == 0:
		return out
	case p.DropForeign, p.Limit > 0 && int(st.Held(s, Unread)+st.Held(s, Read)) >= p.Limit:
		return w.move(out, Dropped, s, Foreign, gone)
	}
	return w.move(out, Kept, s, Foreign, socket)
}

func (w World) move(out []Transition, e Event, s State, from, to Kind) []Transition {
	for _, t := range w.Policy.store().Move(s, from, to) {
		out = append(out, Transition{e, t, 1})
	}
	return out
}

// sockets: whoever reads does so. The disk's own socket is always read.
func (w World) sockets(out []Transition, s State) []Transition {
	st := w.Policy.store()
	if s.Ordinary[Read] > 0 {
		t := s
		t.Ordinary[Read]--
		t.Free++
		out = append(out, Transition{Consumed, t, 1})
	}
	if st.Held(s, Read) > 0 {
		out = w.move(out, Consumed, s, Read, gone)
	}
	if s.Ordinary[Delivered] > 0 {
		t := s
		t.Ordinary[Delivered]--
		t.Free++
		out = w.complete(out, t)
	}
	if st.Held(s, Delivered) > 0 {
		for _, t := range st.Move(s, Delivered, gone) {
			out = w.complete(out, t)
		}
	}
	return out
}

// link: without loss, sending again is not worth a step: the target answers as
// often as it is asked. With loss it needs the frame once more.
func (w World) link(out []Transition, s State) []Transition {
	if !w.Loss {
		return out
	}
	if w.awaited(s) > 0 {
		t := s
		t.Lost++
		out = append(out, Transition{LostOnLink, t, 1})
	}
	if s.Lost > 0 && w.canResend(s) {
		t := s
		t.Lost--
		out = append(out, Transition{Resent, t, 1})
	}
	return out
}

// canResend: with the frame kept nothing is needed; otherwise it is built anew.
func (w World) canResend(s State) bool {
	p := w.Policy
	return p.KeepSent || p.Claim > 0 || p.NoCopies || s.Free > 0 || p.Transmit > 0
}
