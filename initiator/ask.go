package initiator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// A question is one command that is sent until it is answered, while no disk is
// open on the link. It allocates as it likes: none of this is on the data path.
type question struct {
	header frame.Header // Dst, Addr and Command
	arg    []byte       // the encoded argument and what follows it

	// first is when it is sent again, doubling up to a second.
	first time.Duration
	// tries bounds the transmissions; zero: until ctx ends.
	tries int
	// grace is how long further answers are waited for after the first; zero:
	// until accept says that it is enough, or ctx ends.
	grace time.Duration

	// accept is called with each answer, which it borrows, and reports whether
	// it was the last that is wanted.
	accept func(a answer) bool
}

// An answer is a response whose tag, source and address fit the question.
type answer struct {
	header frame.Header
	arg    []byte
	rtt    time.Duration
}

const maxAskInterval = time.Second

// An asker asks questions, one at a time.
type asker struct {
	link    link.Link
	bufs    [][]byte
	backing [][]byte
	frame   []byte
	tag     uint32 // of the first transmission of the question
	sent    []time.Time
}

func newAsker(l link.Link) *asker {
	const batch = 32
	a := &asker{link: l, bufs: make([][]byte, batch), backing: make([][]byte, batch)}
	for i := range a.backing {
		a.backing[i] = make([]byte, max(l.State().MTU, 1500)+frame.EthernetLen+4) // and a VLAN tag
	}
	return a
}

// ask returns nil when accept was satisfied or grace has passed, and otherwise
// an error wrapping ErrNoAnswer, and ctx's if that is why.
func (a *asker) ask(ctx context.Context, q question) error {
	stop := context.AfterFunc(ctx, a.link.Wake)
	defer stop()
	a.tag = rand.Uint32()>>2 + 1 // bit 31 is clear, also after many tries, and it is never zero
	a.sent = a.sent[:0]
	interval := q.first
	next, end := time.Now(), time.Time{}
	for {
		now := time.Now()
		switch {
		case !end.IsZero() && !now.Before(end):
			return nil
		case ctx.Err() != nil:
			return a.noAnswer(q, ctx.Err())
		case !now.Before(next) && q.tries > 0 && len(a.sent) == q.tries:
			return a.noAnswer(q, nil)
		case !now.Before(next):
			if err := a.send(q); err != nil {
				return err
			}
			next = now.Add(interval)
			interval = min(2*interval, maxAskInterval)
		}
		wait := time.Until(next)
		if !end.IsZero() {
			wait = min(wait, time.Until(end))
		}
		answered, done, err := a.receive(q, max(wait, 0))
		if err != nil || done {
			return err
		}
		if answered && end.IsZero() && q.grace > 0 {
			end = time.Now().Add(q.grace)
		}
	}
}

func (a *asker) noAnswer(q question, why error) error {
	s := a.link.State()
	state := ""
	if !s.Up {
		state = ", which is down"
	}
	if why != nil {
		return fmt.Errorf("initiator: %v: %w on %s%s: %w", q.header.Addr, ErrNoAnswer, s.Name, state, why)
	}
	return fmt.Errorf("initiator: %v: %w on %s%s", q.header.Addr, ErrNoAnswer, s.Name, state)
}

func (a *asker) send(q question) error {
	h := q.header
	h.Src = a.link.State().MAC
	h.Tag = a.tag + uint32(len(a.sent))
	a.frame = frame.Pad(append(h.Append(a.frame[:0]), q.arg...))
	a.sent = append(a.sent, time.Now())
	if _, err := a.link.Send([][]byte{a.frame}); err != nil {
		return fmt.Errorf("initiator: %w", err)
	}
	return nil
}

// receive looks at one batch.
func (a *asker) receive(q question, wait time.Duration) (answered, done bool, err error) {
	for i := range a.bufs {
		a.bufs[i] = a.backing[i]
	}
	n, err := a.link.Recv(a.bufs, wait)
	if err != nil {
		return false, false, fmt.Errorf("initiator: %w", err)
	}
	now := time.Now()
	for _, b := range a.bufs[:n] {
		h, arg, err := frame.Parse(b)
		nth := h.Tag - a.tag
		if err != nil || !h.IsResponse() || h.Version != frame.Version || h.Command != q.header.Command ||
			nth >= uint32(len(a.sent)) || h.Dst != a.link.State().MAC || h.Src.IsMulticast() ||
			h.Addr.IsWildcard() || !q.header.Addr.Covers(h.Addr) ||
			q.header.Dst != frame.Broadcast && h.Src != q.header.Dst {
			continue
		}
		answered = true
		if q.accept(answer{h, arg, now.Sub(a.sent[nth])}) {
			return true, true, nil
		}
	}
	return answered, false, nil
}
