package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"aoe/cmd/internal/rundir"
	"aoe/frame"
)

// Limits of a Page.
const (
	tick       = 250 * time.Millisecond // between looks
	keep       = int(2 * time.Minute / tick)
	mostReader = 32
	behind     = int(time.Second / tick) // samples that a reader may be late
	askTimeout = 2 * time.Second         // for a disk that does not answer
	closeTime  = time.Second             // for readers to be told the end
)

// A Page shows one lab.
type Page struct {
	listener net.Listener
	http     *http.Server
	served   chan error
	stop     context.CancelFunc // ends looking
	looking  sync.WaitGroup

	mu       sync.Mutex
	dir      rundir.Dir // empty: no disk to look at
	addr     frame.Addr
	status   *rundir.Status // the latest, nil when not attached
	history  []Sample
	steps    []Step
	finished string // how it came out; empty while it runs
	readers  map[chan update]bool
	closed   bool
}

// An update is what readers are sent.
type update struct {
	Sample   Sample `json:"sample"`
	Steps    []Step `json:"steps"`
	Finished string `json:"finished,omitempty"`
}

// Listen serves the page at a TCP address; port 0 is any.
func Listen(address string) (*Page, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	p := &Page{listener: l, served: make(chan error, 1), readers: map[chan update]bool{}}
	p.http = &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() { p.served <- p.http.Serve(l) }() // ends with Close
	p.looking.Go(func() { p.look(ctx) })
	return p, nil
}

// URL is where the page is.
func (p *Page) URL() string { return "http://" + p.listener.Addr().String() + "/" }

// Watch looks at a disk from now on; an empty directory is none.
func (p *Page) Watch(dir rundir.Dir, addr frame.Addr) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dir, p.addr = dir, addr
}

// Begin says that a step has begun.
func (p *Page) Begin(step string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, Step{Name: step})
}

// End says how the step that was begun last came out.
func (p *Page) End(s Step) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Done = true
	if n := len(p.steps); n > 0 && !p.steps[n-1].Done {
		p.steps[n-1] = s
	} else {
		p.steps = append(p.steps, s)
	}
}

// Finish says how the lab came out, in a few words.
func (p *Page) Finish(verdict string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.dir, p.finished = "", verdict
	p.mu.Unlock()
	p.take(time.Now(), nil)
}

// Close tells the readers the end, and stops. Closing twice is no error.
func (p *Page) Close() error {
	if p == nil {
		return nil
	}
	p.stop()
	p.looking.Wait()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	for r := range p.readers {
		close(r) // who reads it ends
		delete(p.readers, r)
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := p.http.Shutdown(ctx)
	if err != nil {
		err = p.http.Close() // a reader that does not read
	}
	if e := <-p.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// look looks until ctx ends.
func (p *Page) look(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		p.take(time.Now(), p.ask(ctx))
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask is the disk's status, nil if it is not attached, or does not answer.
func (p *Page) ask(ctx context.Context) *rundir.Status {
	p.mu.Lock()
	dir, addr := p.dir, p.addr
	p.mu.Unlock()
	if dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := dir.Status(ctx, addr)
	if err != nil {
		return nil
	}
	return &s
}

// take keeps a look at the disk and sends it to the readers.
func (p *Page) take(at time.Time, s *rundir.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = s
	if len(p.history) == keep {
		p.history = append(p.history[:0], p.history[1:]...)
	}
	p.history = append(p.history, sampleOf(at, s))
	u := p.latestLocked()
	for r := range p.readers {
		select {
		case r <- u:
		default: // it is late, and misses this one
		}
	}
}

func (p *Page) latestLocked() update {
	u := update{Steps: slices.Clone(p.steps), Finished: p.finished}
	if n := len(p.history); n > 0 {
		u.Sample = p.history[n-1]
	}
	if u.Steps == nil {
		u.Steps = []Step{}
	}
	return u
}

var (
	errFull   = errors.New("too many readers: close one")
	errClosed = errors.New("the lab has ended")
)

// subscribe adds a reader: the past, and what brings the future, which is closed
// at the end.
func (p *Page) subscribe() (past []Sample, now update, updates chan update, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, now, nil, errClosed
	case len(p.readers) >= mostReader:
		return nil, now, nil, errFull
	}
	updates = make(chan update, behind)
	p.readers[updates] = true
	return append([]Sample{}, p.history...), p.latestLocked(), updates, nil
}

func (p *Page) unsubscribe(updates chan update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.readers, updates)
}
