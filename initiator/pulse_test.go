package initiator

import (
	"sync/atomic"
	"testing"
	"time"

	"aoe/frame/link"
)

// A pulse counts what a disk's loop tells.
type pulse struct {
	beats, shorts atomic.Int64
	stopped       atomic.Bool
}

func (p *pulse) Beat(short bool) {
	if short {
		p.shorts.Add(1)
	}
	p.beats.Add(1)
}

func (p *pulse) Interval() time.Duration { return 5 * time.Millisecond }
func (p *pulse) Stop()                   { p.stopped.Store(true) }

// A stuck link is one whose Send waits, as if for memory, when it is told to.
type stuck struct {
	link.Link
	on      atomic.Bool
	entered chan struct{} // told each time Send begins to wait
	free    chan struct{} // what it waits for
}

func (s *stuck) Send(frames [][]byte) (int, error) {
	if s.on.Load() {
		s.entered <- struct{}{}
		<-s.free
	}
	return s.Link.Send(frames)
}

// TestPulse: a loop with nothing to do tells that it works, one that hangs in
// sending does not, and one that has ended says so.
func TestPulse(t *testing.T) {
	noLeaks(t)
	b := newSegment(t, bedConfig{})
	s := &stuck{Link: b.port, entered: make(chan struct{}), free: make(chan struct{})}
	p := &pulse{}
	d, err := Open(b.ctx(), Config{Link: s, Addr: e11, Pulse: p, Probe: -1})
	if err != nil {
		t.Fatal(err)
	}
	before := p.beats.Load()
	b.until("a loop with nothing to do beats", func() bool { return p.beats.Load() > before+3 })

	s.on.Store(true)
	read := make(chan error, 1)
	go func() { _, err := d.ReadAt(make([]byte, 4096), 0); read <- err }() // ends with the read
	<-s.entered
	before = p.beats.Load()
	// What is looked for is that nothing happens for a while.
	time.Sleep(20 * p.Interval())
	if n := p.beats.Load(); n != before {
		t.Errorf("a loop that hangs in sending beat %d times", n-before)
	}
	s.on.Store(false)
	close(s.free)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	b.until("the loop goes on", func() bool { return p.beats.Load() > before })
	if n := p.shorts.Load(); n != 0 {
		t.Errorf("memory was called short %d times", n)
	}
	if p.stopped.Load() {
		t.Error("stopped before the end")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if !p.stopped.Load() {
		t.Error("the loop has ended, and nobody was told")
	}
}

// TestPulseTellsOfTheReserve: memory is short while requests are served from the
// reserve, and no longer when nobody has any to do with it.
func TestPulseTellsOfTheReserve(t *testing.T) {
	p := &pulse{}
	b := newBed(t, bedConfig{disk: Config{Pulse: p}})
	b.disk.SetPressure(true)
	buf := make([]byte, 4096)
	b.until("requests in crunch are told of", func() bool {
		if _, err := b.disk.ReadAt(buf, 0); err != nil {
			t.Fatal(err)
		}
		return p.shorts.Load() > 0
	})
	var shorts, beats int64
	b.until("a disk that does nothing says that memory is fine", func() bool {
		s, n := p.shorts.Load(), p.beats.Load()
		calm := s == shorts && n > beats+3
		if s != shorts {
			shorts, beats = s, n
		}
		return calm
	})
}
