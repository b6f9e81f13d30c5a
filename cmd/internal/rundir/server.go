package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"aoe/frame"
)

// A Handler is an attached disk. Its methods are called by one goroutine per
// connection.
type Handler interface {
	Status() Status
	// Detach returns when the disk is detached, or says why it is not. If it is,
	// whoever owns the Server closes it, and not before that is done does the
	// peer's call return: the address is free then.
	Detach(ctx context.Context) error
}

// A Forgetter is a Handler that can detach a disk that is down, and give up what
// was not written yet. Others are asked to Detach.
type Forgetter interface {
	Forget(ctx context.Context) error
}

// A Server answers on the control socket of one disk.
type Server struct {
	addr     frame.Addr
	dir      Dir
	handler  Handler
	claim    io.Closer
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup // accept loop and connections
	answers  sync.WaitGroup // detaches that are being answered
	released chan struct{}  // closed when the address is free

	mu    sync.Mutex
	conns map[net.Conn]bool // value: a detach is being answered
	once  sync.Once
}

// Listen claims the address and begins to answer for it. It makes the
// directory if that is missing.
func Listen(dir Dir, addr frame.Addr, h Handler) (*Server, error) {
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	claim, err := dir.claim(addr)
	if err != nil {
		return nil, fmt.Errorf("rundir: %s: %w", addr, err)
	}
	path := dir.socket(addr)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		claim.Close()
		return nil, fmt.Errorf("rundir: %w", err)
	}
	l, err := listenPrivate(path)
	if err != nil {
		claim.Close()
		return nil, fmt.Errorf("rundir: %w", err)
	}
	s := &Server{addr: addr, dir: dir, handler: h, claim: claim, listener: l, conns: map[net.Conn]bool{}, released: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	return s, nil
}

// listenPrivate makes a socket that only its owner may connect to. It gets its
// name after its mode, so that there is no moment at which others may.
func listenPrivate(path string) (net.Listener, error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var l *net.UnixListener
	err := shorten(fresh, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		l.Close()
		os.Remove(fresh)
		return nil, err
	}
	return l, nil
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed; a unix listener has no passing errors but EMFILE, which is fatal here too
		}
		s.mu.Lock()
		s.conns[conn] = false
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
			conn.Close()
		})
	}
}

func (s *Server) serve(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(statusTimeout))
	var q request
	if err := json.NewDecoder(io.LimitReader(conn, maxMessageBytes)).Decode(&q); err != nil {
		return
	}
	var r reply
	switch q.Command {
	case "status":
		st := s.handler.Status()
		r.Status = &st
	case "detach":
		s.detach(conn, s.handler.Detach)
		return
	case "forget":
		forget := s.handler.Detach
		if f, ok := s.handler.(Forgetter); ok {
			forget = f.Forget
		}
		s.detach(conn, forget)
		return
	default:
		r.Error = fmt.Sprintf("unknown command %q", q.Command)
	}
	// The peer may have gone: then nobody wants the reply.
	_ = json.NewEncoder(conn).Encode(r)
}

// detach answers when the disk is detached, and keeps the connection open
// until its address is free.
func (s *Server) detach(conn net.Conn, how func(context.Context) error) {
	s.mu.Lock()
	select {
	case <-s.ctx.Done(): // Close does not wait for answers any more
		s.mu.Unlock()
		return
	default:
	}
	s.conns[conn] = true
	s.answers.Add(1)
	s.mu.Unlock()
	var r reply
	conn.SetDeadline(time.Time{})
	err := how(s.ctx)
	if err != nil {
		r.Error = err.Error()
	}
	conn.SetDeadline(time.Now().Add(statusTimeout))
	_ = json.NewEncoder(conn).Encode(r) // the peer may have gone
	s.answers.Done()
	if err == nil {
		<-s.released
	}
}

// Close takes the disk off the list and gives the address free. Replies to a
// detach that are being sent are finished first; other connections are cut.
func (s *Server) Close() error {
	s.once.Do(func() {
		// The name goes first: from here on nobody finds us.
		os.Remove(s.dir.socket(s.addr))
		s.listener.Close()
		s.mu.Lock()
		s.cancel()
		for conn, detaching := range s.conns {
			if !detaching {
				conn.Close()
			}
		}
		s.mu.Unlock()
		s.answers.Wait()
		// The lock file stays: removing it would let two processes lock two
		// files of one name.
		s.claim.Close()
		close(s.released)
		s.wg.Wait()
	})
	return nil
}

// claim locks the file that stands for the right to attach addr.
func (d Dir) claim(addr frame.Addr) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Clean(d.lock(addr)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
