package linktest

import (
	"fmt"
	"net"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// A Port is a link.Link on a Switch. Its fields are guarded by the switch's
// lock, except those that say otherwise.
type Port struct {
	sw     *Switch
	state  link.State
	stats  link.Stats
	queue  int
	flight flight
	closed bool
	woken  bool // by Wake or a change of state, until Recv returns

	// news has an element when the port has to be looked at again. One is
	// enough: whoever takes it looks at everything.
	news  chan struct{}
	timer *time.Timer // of the one goroutine in Recv
}

var _ link.Link = (*Port)(nil)

func newPort(s *Switch, mac frame.MAC, i int) *Port {
	return &Port{
		sw:    s,
		state: link.State{Name: fmt.Sprintf("port%d", i), MAC: mac, MTU: s.cfg.MTU, Up: true},
		queue: s.cfg.Queue,
		news:  make(chan struct{}, 1),
	}
}

// signal makes a waiting Recv look again.
func (p *Port) signal() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *Port) errClosed() error {
	return fmt.Errorf("linktest: %s: %w", p.state.Name, net.ErrClosed)
}

// Recv is [link.Link.Recv]. On a manual switch it does not wait.
func (p *Port) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	start := time.Now()
	for {
		n, wait, err := p.take(bufs)
		left := timeout - time.Since(start)
		switch {
		case err != nil || n > 0 || wait == 0 || timeout == 0:
			return n, err
		case timeout > 0 && left <= 0:
			return 0, nil
		case timeout > 0 && (wait < 0 || left < wait):
			wait = left
		}
		p.wait(wait)
	}
}

// wait waits for news, at most d; a negative d is no limit.
func (p *Port) wait(d time.Duration) {
	if d < 0 {
		<-p.news
		return
	}
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.news:
		p.timer.Stop()
	case <-p.timer.C:
	}
}

// take moves what has arrived into bufs. If that is nothing it says how long it
// takes until something will have: 0 if Recv has to return at once, negative
// if nothing is on its way.
func (p *Port) take(bufs [][]byte) (n int, wait time.Duration, err error) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	if p.closed {
		return 0, 0, p.errClosed()
	}
	now := p.sw.nowLocked()
	for n < len(bufs) {
		data, ok := p.flight.pop(now)
		if !ok {
			break
		}
		if len(data) > cap(bufs[n]) {
			p.stats.Truncated++
			continue
		}
		bufs[n] = bufs[n][:copy(bufs[n][:len(data)], data)]
		p.stats.Received++
		p.stats.ReceivedBytes += uint64(len(data))
		n++
	}
	woken := p.woken
	p.woken = false
	due, coming := p.flight.next()
	switch {
	case n > 0 || woken || p.sw.cfg.Manual || len(bufs) == 0:
		return n, 0, nil
	case coming:
		return 0, max(due-now, 1), nil
	}
	return 0, -1, nil
}

// Send is [link.Link.Send].
func (p *Port) Send(frames [][]byte) (int, error) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	if p.closed {
		return 0, p.errClosed()
	}
	n := 0
	for _, f := range frames {
		if !p.state.Up || len(f) < frame.EthernetLen || len(f) > p.state.MTU+frame.EthernetLen {
			p.stats.SendDropped++
			continue
		}
		p.stats.Sent++
		p.stats.SentBytes += uint64(len(f))
		n++
		p.sw.forwardLocked(p, f)
	}
	return n, nil
}

// Wake is [link.Link.Wake].
func (p *Port) Wake() {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.woken = true
	p.signal()
}

// State is [link.Link.State].
func (p *Port) State() link.State {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	return p.state
}

// Stats is [link.Link.Stats].
func (p *Port) Stats() link.Stats {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	return p.stats
}

// Close is [link.Link.Close]. Frames on their way to the port are lost.
func (p *Port) Close() error {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.closed = true
	p.flight.clear()
	p.signal()
	return nil
}

// SetUp sets the port up or down. Frames sent to or from a port that is down
// are lost, and so are those that were on their way to it.
func (p *Port) SetUp(up bool) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	if p.state.Up == up {
		return
	}
	if !up {
		p.stats.Flaps++
		p.sw.stats.Down += uint64(p.flight.len())
		p.flight.clear()
	}
	p.state.Up = up
	p.changedLocked()
}

// SetMTU gives the port another MTU in bytes.
func (p *Port) SetMTU(bytes int) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	if p.state.MTU != bytes {
		p.state.MTU = bytes
		p.changedLocked()
	}
}

func (p *Port) changedLocked() {
	p.state.Generation++
	p.woken = true
	p.signal()
}

// Clog bounds the frames that can be on their way to the port; those that are
// stay. Zero loses all, a negative number means Config.Queue again.
func (p *Port) Clog(frames int) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	if frames < 0 {
		frames = p.sw.cfg.Queue
	}
	p.queue = frames
}
