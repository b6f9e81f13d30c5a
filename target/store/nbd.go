package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// NBDConfig says which export of an NBD server to open, and how to live with
// the server's going away. URI is required.
type NBDConfig struct {
	// URI of the export: nbd://host[:port]/export, or
	// nbd+unix:///export?socket=path.
	URI string
	// Offset, Length and ReadOnly are those of Config.
	Offset, Length int64
	ReadOnly       bool
	// Durable has every write on stable storage when it returns, so that none
	// is lost when the server goes away and comes back, and Sync has little to
	// do: by FUA, or by a FLUSH that writes at the same time share. From a
	// server that knows neither nothing can be had. See ErrLost.
	Durable bool
	// InFlight is how many requests may be under way at once. Zero is 64;
	// negative is refused.
	InFlight int
	// Patience is how long a request waits for a server that went away before
	// it fails. Zero is 30 s; negative is for ever.
	Patience time.Duration
	// Fence is how long to wait before writes are repeated that the server may
	// still have in hand: after a connection that ended without the server
	// having closed it. Zero is 10 s; negative is not at all.
	Fence time.Duration
	// Dial makes a connection. Nil dials what URI says.
	Dial func(context.Context) (net.Conn, error)
}

func (c *NBDConfig) validate() (a nbdAddress, err error) {
	if a, err = parseNBD(c.URI); err != nil {
		return a, err
	}
	if c.Offset < 0 || c.Length < 0 || c.Offset%SectorSize != 0 || c.Length%SectorSize != 0 {
		return a, fmt.Errorf("%s: offset %d and length %d must be multiples of %d and not negative", c.URI, c.Offset, c.Length, SectorSize)
	}
	if c.InFlight < 0 {
		return a, fmt.Errorf("%s: %d requests in flight", c.URI, c.InFlight)
	}
	if c.InFlight == 0 {
		c.InFlight = 64
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	if c.Fence == 0 {
		c.Fence = 10 * time.Second
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context) (net.Conn, error) { return dialNBD(ctx, a) }
	}
	return a, nil
}

// ErrLost is what one Sync returns after the server went away with writes that
// it had answered and was not yet asked to make durable: it may have forgotten
// them.
var ErrLost = errors.New("store: the NBD server went away with writes that it had answered and not yet synced")

// An NBD store is an export of an NBD server, used over one connection that is
// made anew when it ends.
type NBD struct {
	cfg     NBDConfig
	info    Info
	use     uint16 // transmission flags that are relied on
	blocks  bool   // block sizes are asked for
	size    atomic.Int64
	maximum int // payload of one request, in bytes

	free    chan *nbdSlot
	wake    chan struct{} // something was queued
	closing chan struct{}
	ended   chan struct{} // run has ended

	mu       sync.Mutex
	slots    []nbdSlot
	queue    []*nbdSlot // to be sent, in this order
	seq      uint64     // of the latest request
	up       bool       // connected
	why      error      // why not
	answered uint64     // requests
	changed  uint64     // changes answered, but not durable by themselves
	stable   uint64     // of those, how many are durable
	lost     bool       // some were lost, and nobody was told
	old      bool       // another process may have left changes to be flushed
	group    nbdGroup
	stats    NBDStats
}

// NBDStats counts since the store was opened.
type NBDStats struct {
	Connections uint64 // made, the first included
	Repeated    uint64 // requests sent again over another connection
	Expired     uint64 // requests that failed for want of a connection
}

// OpenNBD connects to a server. The caller closes the store.
func OpenNBD(cfg NBDConfig) (*NBD, error) {
	a, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	n := &NBD{
		cfg: cfg, blocks: true, old: true, up: true,
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	n.makeSlots(cfg.InFlight)
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	conn, e, err := n.connect(ctx)
	if err == nil {
		err = n.describe(a, e)
		if err != nil {
			conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", cfg.URI, err)
	}
	n.stats.Connections = 1
	go n.run(conn)
	return n, nil
}

// describe takes over what the server told when it was first connected to.
func (n *NBD) describe(a nbdAddress, e nbdExport) error {
	if n.cfg.Offset+max(n.cfg.Length, SectorSize) > int64(e.size) {
		return fmt.Errorf("the export has %d bytes: nothing can be served from offset %d, length %d", e.size, n.cfg.Offset, n.cfg.Length)
	}
	n.use = e.flags & (nbdSendFlush | nbdSendFUA)
	zeroes, trim := e.can(nbdSendWriteZeroes), e.can(nbdSendTrim)
	switch {
	case n.cfg.ReadOnly:
		n.use, zeroes, trim = 0, false, false
	case zeroes: // as good as a trim, and promises more
		n.use |= nbdSendWriteZeroes
	case trim:
		n.use |= nbdSendTrim
	}
	n.maximum = e.payload()
	n.info = Info{
		Name: n.cfg.URI, Identity: a.identity(), PhysicalBlock: physicalBlock(e.preferred),
		Trim: trim || zeroes, TrimZeroes: zeroes, ReadOnly: n.cfg.ReadOnly,
		Writers: n.writers(), Rotational: e.can(nbdRotational), Volatile: !e.can(nbdSendFlush | nbdSendFUA),
	}
	if n.info.Identity != "" && n.cfg.Offset > 0 {
		n.info.Identity += fmt.Sprintf("+%d", n.cfg.Offset)
	}
	if n.cfg.Length == 0 {
		n.info.Tail = int((int64(e.size) - n.cfg.Offset) % SectorSize)
	}
	n.resize(e)
	return nil
}

// resize makes what is left of an export the window's size.
func (n *NBD) resize(e nbdExport) {
	size := max(int64(e.size)-n.cfg.Offset, 0)
	if n.cfg.Length > 0 {
		size = min(size, n.cfg.Length)
	}
	n.size.Store(size - size%SectorSize)
}

// physicalBlock is what the server prefers, if that says anything.
func physicalBlock(preferred uint32) int {
	if preferred < SectorSize || preferred > 64<<10 || preferred&(preferred-1) != 0 {
		return SectorSize
	}
	return int(preferred)
}

// Stats are the counters as of now.
func (n *NBD) Stats() NBDStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Size is that of the latest connection: the protocol has no way to tell of a
// change meanwhile. While there is none it fails, which is how a target finds
// out, and tells.
func (n *NBD) Size() (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return 0, fmt.Errorf("store: %s: the NBD server is away, requests wait for it: %w", n.cfg.URI, n.why)
	}
	return n.size.Load(), nil
}

// Info implements Store. It is what the first connection told: one that tells
// of less is not accepted.
func (n *NBD) Info() Info { return n.info }

// ReadAt implements Store.
func (n *NBD) ReadAt(p []byte, off int64) (int, error) {
	if !inside(off, len(p), n.size.Load()) {
		return 0, ErrRange
	}
	for done := 0; done < len(p); {
		part := min(len(p)-done, n.maximum)
		if err := n.do(nbdCmdRead, p[done:done+part], off+int64(done), part); err != nil {
			return done, err
		}
		done += part
	}
	return len(p), nil
}

// WriteAt implements Store.
func (n *NBD) WriteAt(p []byte, off int64) (int, error) {
	if n.cfg.ReadOnly {
		return 0, ErrReadOnly
	}
	if !inside(off, len(p), n.size.Load()) {
		return 0, ErrRange
	}
	for done := 0; done < len(p); {
		part := min(len(p)-done, n.maximum)
		if err := n.do(nbdCmdWrite, p[done:done+part], off+int64(done), part); err != nil {
			return done, err
		}
		done += part
	}
	return len(p), nil
}

// Trim implements Store.
func (n *NBD) Trim(off, length int64) error {
	switch size := n.size.Load(); {
	case n.cfg.ReadOnly:
		return ErrReadOnly
	case length < 0 || off < 0 || off > size || length > size-off:
		return ErrRange
	case !n.info.Trim:
		return nil
	}
	command := uint16(nbdCmdTrim)
	if n.info.TrimZeroes {
		command = nbdCmdWriteZeroes
	}
	for length > 0 {
		part := min(length, int64(n.maximum))
		if err := n.do(command, nil, off, int(part)); err != nil {
			return err
		}
		off, length = off+part, length-part
	}
	return nil
}

// durable reports whether each change is on stable storage when it is answered.
// Where there is no FLUSH to make it so later, it has to be.
func (n *NBD) durable() bool {
	return n.grouped() || n.use&nbdSendFUA != 0 && (n.cfg.Durable || n.use&nbdSendFlush == 0)
}

// writers leaves some requests for reads, which wait for nobody.
func (n *NBD) writers() int {
	if !n.grouped() {
		return 0
	}
	return (n.cfg.InFlight + 1) / 2
}

// Sync implements Store. A server without FLUSH has no cache that we could know
// of; Info says that nothing is promised.
func (n *NBD) Sync() error {
	if n.use&nbdSendFlush == 0 {
		return nil
	}
	n.mu.Lock()
	needless := n.durable() && !n.old && n.group.failed == nil
	n.mu.Unlock()
	if needless {
		return nil
	}
	return n.do(nbdCmdFlush, nil, -n.cfg.Offset, 0)
}

// Close implements Store.
func (n *NBD) Close() error {
	close(n.closing)
	<-n.ended
	return nil
}
