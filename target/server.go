package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"aoe/frame"
	"aoe/frame/link"
)

// A Server serves disks on links. Its methods may be called by any number of
// goroutines, Serve by one.
type Server struct {
	cfg    Config
	disks  atomic.Pointer[table]
	events chan event // to the watcher; what finds no room is not logged

	stop     chan struct{} // closed first of all by Close
	idle     chan struct{} // a port has ended
	shutdown sync.Once
	closeErr error

	mu      sync.Mutex // guards what follows, and changes of disks
	ports   []*port
	serving bool
	closed  bool
	running sync.WaitGroup // receive goroutines and the watcher
}

// A table of disks is never changed, only replaced, so that the receive
// goroutines look things up without a lock.
type table struct {
	byAddr map[frame.Addr]*disk
	sorted []*disk
}

// New makes a server without disks and links.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:    cfg,
		events: make(chan event, 64),
		stop:   make(chan struct{}),
		idle:   make(chan struct{}, 1),
	}
	s.disks.Store(&table{})
	return s, nil
}

func (s *Server) disk(a frame.Addr) *disk { return s.disks.Load().byAddr[a] }

func (s *Server) all() []*disk { return s.disks.Load().sorted }

func (s *Server) allPorts() []*port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ports)
}

// replaceDisksLocked puts d, which may be nil, in the place of the disk at a.
func (s *Server) replaceDisksLocked(a frame.Addr, d *disk) {
	old := s.disks.Load()
	next := &table{byAddr: make(map[frame.Addr]*disk, len(old.byAddr)+1)}
	for _, o := range old.sorted {
		if o.addr != a {
			next.sorted = append(next.sorted, o)
		}
	}
	if d != nil {
		next.sorted = append(next.sorted, d)
	}
	slices.SortFunc(next.sorted, func(a, b *disk) int {
		return cmp.Or(cmp.Compare(a.addr.Shelf, b.addr.Shelf), cmp.Compare(a.addr.Slot, b.addr.Slot))
	})
	for _, o := range next.sorted {
		next.byAddr[o.addr] = o
	}
	s.disks.Store(next)
}

// AddDisk serves a disk from now on, and announces it on every link. After an
// error the store is still the caller's. An address that is taken is refused
// with an error wrapping os.ErrExist.
func (s *Server) AddDisk(c Disk) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("target: adding %s: %w", c.Addr, net.ErrClosed)
	}
	if s.disk(c.Addr) != nil {
		return fmt.Errorf("target: %s is served already: %w", c.Addr, os.ErrExist)
	}
	d, err := newDisk(s.cfg, c)
	if err != nil {
		return err
	}
	s.replaceDisksLocked(d.addr, d)
	if s.serving {
		for _, p := range s.ports {
			announceOn(p.link, p.sectorsOf(p.link.State()), d)
		}
	}
	s.note(event{what: diskAdded, disk: d})
	return nil
}

// RemoveDisk stops serving the disk at a, when what is under way has been
// carried out and answered, and closes its store. Its error is that of the last
// sync, or wraps ErrNoDisk.
func (s *Server) RemoveDisk(a frame.Addr) error {
	s.mu.Lock()
	d := s.disk(a)
	if d != nil {
		s.replaceDisksLocked(a, nil)
	}
	s.mu.Unlock()
	if d == nil {
		return fmt.Errorf("target: %s: %w", a, ErrNoDisk)
	}
	err := d.close()
	s.note(event{what: diskRemoved, disk: d, err: err})
	return err
}

// AddLink serves all disks on l from when Serve runs. The server owns l from
// now on, and closes it, except when AddLink returns an error.
func (s *Server) AddLink(l link.Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("target: adding a link: %w", net.ErrClosed)
	}
	p := newPort(s, l)
	s.ports = append(slices.Clip(s.ports), p) // Close has its own view
	if s.serving {
		s.startLocked(p)
	}
	return nil
}

// RemoveLink serves l no longer, and closes it. What was received on it and is
// still under way is carried out and not answered: initiators ask again on
// another link. Its error is that of closing, or wraps os.ErrNotExist.
func (s *Server) RemoveLink(l link.Link) error {
	s.mu.Lock()
	i := slices.IndexFunc(s.ports, func(p *port) bool { return p.link == l })
	if i < 0 || s.closed {
		s.mu.Unlock()
		return fmt.Errorf("target: link: %w", os.ErrNotExist)
	}
	p, serving := s.ports[i], s.serving
	s.ports = slices.Concat(s.ports[:i], s.ports[i+1:])
	s.mu.Unlock()

	close(p.removed)
	if serving {
		l.Wake()
		<-p.done
	}
	st := l.State()
	err := l.Close()
	s.note(event{what: linkRemoved, state: st, err: err})
	s.ended()
	return err
}

// startLocked runs a port's receive goroutine.
func (s *Server) startLocked(p *port) {
	s.running.Go(func() {
		defer close(p.done)
		err := p.receive(s.stop)
		p.mu.Lock()
		p.ended = err
		p.mu.Unlock()
		if err != nil {
			s.note(event{what: linkEnded, port: p, err: err})
		}
		s.ended()
	})
}

// ended has await look whether there is anything left to serve.
func (s *Server) ended() {
	select {
	case s.idle <- struct{}{}:
	default:
	}
}

// Serve serves until ctx is done or Close is called, and returns nil when
// everything has been answered and closed. It returns an error when the last
// link has failed, or when closing the disks did. It can be called once.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("target: serving: %w", net.ErrClosed)
	}
	if s.serving {
		panic("target: Serve called twice")
	}
	s.serving = true
	for _, p := range s.ports {
		s.startLocked(p)
	}
	s.running.Go(func() { s.watch(s.stop) })
	s.mu.Unlock()

	err := s.await(ctx)
	return errors.Join(err, s.Close())
}

// await returns when there is no more to serve.
func (s *Server) await(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stop:
			return nil
		case <-s.idle:
			if err := s.allEnded(); err != nil {
				return err
			}
		}
	}
}

// allEnded returns why the links have ended, if every one has.
func (s *Server) allEnded() error {
	var errs []error
	for _, p := range s.allPorts() {
		p.mu.Lock()
		err := p.ended
		p.mu.Unlock()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Close ends the server. Requests that were received are answered first. It
// waits for stores that are busy. Calling it again waits for the first call
// and returns the same.
func (s *Server) Close() error {
	s.shutdown.Do(func() {
		s.mu.Lock()
		s.closed = true // nothing is added any more,
		ports := s.ports
		s.mu.Unlock()

		close(s.stop) // the links stop receiving, but can still send,
		for _, p := range ports {
			p.link.Wake()
		}
		s.running.Wait()

		var errs []error // so that what was received is answered,
		for _, d := range s.all() {
			errs = append(errs, d.close())
		}
		for _, p := range ports { // and then nobody needs the links.
			errs = append(errs, p.link.Close())
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
