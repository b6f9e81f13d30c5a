package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// NBDConfig is what an NBD server serves, and where.
type NBDConfig struct {
	// Disk is served. It stays the caller's: close it after the server.
	Disk Disk
	// Socket is the path of the unix socket. It is made with mode 0600; one
	// that nobody listens on any more is replaced. Needed.
	Socket string
	// Name of the export. Empty means Info.Name. Clients that ask for the
	// default export, which has the empty name, get it too.
	Name string
	// ReadOnly refuses writes even if the disk would take them.
	ReadOnly bool

	// InFlight is how many requests of one connection are in hand at once; more
	// wait in the socket. Zero means 64; fewer than 2 mean 2.
	InFlight int
	// Connections is how many clients are served at once; more are turned
	// away. Zero or negative means 16.
	Connections int
	// HandshakeTimeout ends a negotiation that takes too long. Zero means 10 s,
	// negative never.
	HandshakeTimeout time.Duration
	// StallTimeout ends a connection that holds memory of the disk and does
	// not move: a client that stops in the middle of a write's data or does not
	// take its replies. Idle connections are not concerned. Zero means 60 s,
	// negative never.
	StallTimeout time.Duration
}

func (cfg *NBDConfig) validate() (Info, error) {
	if cfg.Disk == nil {
		return Info{}, errNoDisk
	}
	if cfg.Socket == "" {
		return Info{}, errors.New("attach: no path for the NBD socket given")
	}
	info, err := cfg.Disk.Info().withDefaults()
	if err != nil {
		return Info{}, err
	}
	info.ReadOnly = info.ReadOnly || cfg.ReadOnly
	if cfg.Name == "" {
		cfg.Name = info.Name
	}
	if len(cfg.Name) > 4096 {
		return Info{}, fmt.Errorf("attach: NBD export name of %d bytes: at most 4096", len(cfg.Name))
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = 64
	}
	if cfg.Connections <= 0 {
		cfg.Connections = 16
	}
	if cfg.HandshakeTimeout == 0 {
		cfg.HandshakeTimeout = 10 * time.Second
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = time.Minute
	}
	return info, nil
}

// NBDStats counts since the server began to listen.
type NBDStats struct {
	Connections uint64 `json:"connections"` // that entered the transmission phase
	Refused     uint64 `json:"refused"`     // too many, or negotiation failed
	Broken      uint64 `json:"broken"`      // ended without the client saying goodbye

	Reads   uint64 `json:"reads"`
	Writes  uint64 `json:"writes"`
	Flushes uint64 `json:"flushes"`
	Trims   uint64 `json:"trims"`
	Zeroes  uint64 `json:"zeroes"`
	Errors  uint64 `json:"errors"` // replies that told one

	// Sends is how often replies were sent: fewer than requests when several
	// were ready at once.
	Sends uint64 `json:"sends"`
}

// nbdCounters are shared by all connections of a server.
type nbdCounters struct {
	connections, refused, broken atomic.Uint64
	errors, writes               atomic.Uint64
	requests                     [nbdCmdWriteZeroes + 1]atomic.Uint64
}

// An NBD server shows one disk on a unix socket.
type NBD struct {
	cfg      NBDConfig
	info     Info
	listener *net.UnixListener
	counters nbdCounters

	mu     sync.Mutex
	closed bool
	conns  map[*net.UnixConn]*nbdTransmission // nil while it negotiates
	ended  sync.WaitGroup                     // goroutines of connections
}

// ListenNBD makes the socket. Nothing is served before Serve.
func ListenNBD(cfg NBDConfig) (*NBD, error) {
	info, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	l, err := listenUnix(cfg.Socket)
	if err != nil {
		return nil, err
	}
	return &NBD{cfg: cfg, info: info, listener: l, conns: make(map[*net.UnixConn]*nbdTransmission)}, nil
}

// ServeNBD is ListenNBD and Serve until ctx is done, and Close, which gets ten
// seconds: if the disk's target is dead it may have to be closed first.
func ServeNBD(ctx context.Context, cfg NBDConfig) error {
	n, err := ListenNBD(cfg)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { n.listener.Close() })
	err = n.Serve()
	stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, n.Close(ctx))
}

// Serve serves clients until Close, and returns nil then.
func (n *NBD) Serve() error {
	for {
		conn, err := n.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// For want of descriptors, for instance: clients are still there.
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return fmt.Errorf("attach: %w", err)
		}
		if !n.admit(conn) {
			n.counters.refused.Add(1)
			conn.Close()
			continue
		}
		go n.serve(conn)
	}
}

// Close stops listening, removes the socket, ends all connections and waits
// until the disk has finished what they had in flight, or ctx is done: closing
// the disk ends that too.
func (n *NBD) Close(ctx context.Context) error {
	err := n.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	n.mu.Lock()
	n.closed = true
	for conn, t := range n.conns {
		if t != nil {
			t.giveUp()
		}
		conn.Close()
	}
	n.mu.Unlock()

	done := make(chan struct{})
	go func() {
		n.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("attach: the disk has not finished what NBD clients had in flight: %w", ctx.Err()))
	}
	return err
}

// Stats are the counters as of now.
func (n *NBD) Stats() NBDStats { return n.counters.snapshot() }

func (c *nbdCounters) snapshot() NBDStats {
	return NBDStats{
		Connections: c.connections.Load(), Refused: c.refused.Load(), Broken: c.broken.Load(),
		Reads:   c.requests[nbdCmdRead].Load(),
		Writes:  c.requests[nbdCmdWrite].Load(),
		Flushes: c.requests[nbdCmdFlush].Load(),
		Trims:   c.requests[nbdCmdTrim].Load(),
		Zeroes:  c.requests[nbdCmdWriteZeroes].Load(),
		Errors:  c.errors.Load(), Sends: c.writes.Load(),
	}
}

// admit takes conn on, if there is room.
func (n *NBD) admit(conn *net.UnixConn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || len(n.conns) >= n.cfg.Connections {
		return false
	}
	n.conns[conn] = nil
	n.ended.Add(1) // serve
	return true
}

// serve is one connection from its first byte to its last.
func (n *NBD) serve(conn *net.UnixConn) {
	defer n.ended.Done()
	defer func() {
		conn.Close()
		n.mu.Lock()
		delete(n.conns, conn)
		n.mu.Unlock()
	}()
	structured, err := n.negotiate(conn)
	if err != nil {
		if !errors.Is(err, errNBDAborted) && !errors.Is(err, io.EOF) {
			n.counters.refused.Add(1)
		}
		return
	}
	s, err := newStream(conn, n.cfg.StallTimeout)
	if err != nil {
		return
	}
	t := newNBDTransmission(n.cfg.Disk, n.info, s, n.cfg.InFlight, &n.counters)
	t.structured = structured
	if err := t.accompany(conn, n.cfg.StallTimeout); err != nil {
		t.giveUp()
		return
	}
	n.counters.connections.Add(1)
	n.mu.Lock()
	n.conns[conn] = t
	closed := n.closed
	n.mu.Unlock()
	if closed {
		t.giveUp()
	}
	if err := t.run(); err != nil {
		n.counters.broken.Add(1)
	}
}

func (n *NBD) negotiate(conn *net.UnixConn) (structured bool, err error) {
	if n.cfg.HandshakeTimeout > 0 {
		conn.SetDeadline(time.Now().Add(n.cfg.HandshakeTimeout))
		defer conn.SetDeadline(time.Time{})
	}
	return negotiateNBD(conn, nbdExport{
		name:        n.cfg.Name,
		description: n.info.Model,
		size:        n.cfg.Disk.Size(),
		flags:       nbdFlagsOf(n.info),
		preferred:   nbdPreferred(n.info.Preferred, nbdMaxPayload),
		maximum:     nbdMaxPayload,
	})
}
