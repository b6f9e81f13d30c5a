package initiator

import (
	"fmt"
	"net"
	"sync"
	"time"

	"aoe/frame"
	"aoe/frame/link"

	"github.com/mdlayher/aoe"
)

// A mirror is a link whose other end answers in Send already, without a
// goroutine and without allocating: what is measured on it is ours. Reads return
// zeros; nothing is kept.
type mirror struct {
	mu      sync.Mutex
	queue   [][]byte // replies: a ring of buffers made at start
	head, n int
	news    chan struct{}
	timer   *time.Timer
	closed  bool
	data    []byte // a reply without its header

	// lose is asked for each request; refuse answers with an error.
	lose   func(nth int) bool
	refuse aoe.Error
	nth    int
}

const mirrorSectors = 1 << 20

func newMirror() *mirror {
	m := &mirror{queue: make([][]byte, 1024), news: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), data: make([]byte, 9000)}
	for i := range m.queue {
		m.queue[i] = make([]byte, 0, 9100)
	}
	return m
}

func (m *mirror) State() link.State {
	return link.State{Name: "mirror", MAC: ours, MTU: 9000, Up: true}
}
func (m *mirror) Stats() link.Stats { return link.Stats{} }
func (m *mirror) Wake() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *mirror) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.Wake()
	return nil
}

func (m *mirror) Send(frames [][]byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range frames {
		m.nth++
		if m.n < len(m.queue) && (m.lose == nil || !m.lose(m.nth)) {
			m.answer(b)
		}
	}
	if m.n > 0 {
		m.Wake()
	}
	return len(frames), nil
}

// answer puts the reply to b into the queue.
func (m *mirror) answer(b []byte) {
	slot := (m.head + m.n) % len(m.queue)
	r := append(m.queue[slot][:0], b[:min(len(b), frame.ATADataOffset)]...)
	frame.Reply(r, theirs, e11)
	h, arg, _ := frame.Parse(r)
	a, _, err := frame.ParseATA(arg)
	switch {
	case h.Command == aoe.CommandQueryConfigInformation:
		r = frame.Config{BufferCount: 256, SectorCount: 16}.Append(r[:frame.HeaderLen])
	case err != nil:
		return
	case a.Op == frame.OpIdentify:
		frame.PutResult(r, frame.StatusDRDY, 0, 0)
		r = frame.Identify{Serial: "mirror", Sectors: mirrorSectors, Flush: true, FlushExt: true, Trim: true}.Append(r)
	case m.refuse != 0:
		frame.ReplyError(r, theirs, e11, m.refuse)
		frame.PutEthernet(r, ours, theirs)
	default:
		frame.PutResult(r, frame.StatusDRDY, 0, 0)
		if a.Op.IsRead() {
			r = append(r, m.data[:int(a.Count)*frame.SectorSize]...)
		}
	}
	m.queue[slot] = frame.Pad(r)
	m.n++
}

func (m *mirror) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	n, err := m.take(bufs)
	if n > 0 || err != nil || timeout == 0 {
		return n, err
	}
	if timeout > 0 {
		m.timer.Reset(timeout)
		select {
		case <-m.news:
			m.timer.Stop()
		case <-m.timer.C:
		}
	} else {
		<-m.news
	}
	return m.take(bufs)
}

func (m *mirror) take(bufs [][]byte) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, fmt.Errorf("mirror: %w", net.ErrClosed)
	}
	for ; n < len(bufs) && m.n > 0; n++ {
		bufs[n] = bufs[n][:copy(bufs[n][:cap(bufs[n])], m.queue[m.head])]
		m.head = (m.head + 1) % len(m.queue)
		m.n--
	}
	return n, nil
}
