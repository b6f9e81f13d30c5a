package raw

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/internal/nic"

	//lint:ignore SA1019 deprecated by its author, who moved on to a library for
	// Linux alone; this one is the only one for BSD and macOS too, and was named
	// for the task.
	"github.com/mdlayher/raw"
)

const (
	// slots is how many frames wait for Recv at most: the socket's own buffer
	// holds about ten of 9000 bytes, this makes it the 64 of a large window.
	slots = 64
	// lookEvery is the time between two looks for changes of the interface.
	lookEvery = 250 * time.Millisecond
	// sendPatience is the longest wait for room in the socket's send buffer.
	// It starts before the first attempt, so it must outlast a preemption.
	sendPatience = 10 * time.Millisecond
)

// A Link is an interface, opened with Open.
type Link struct {
	name   string
	nic    *nic.Observer // belongs to Recv, and to Close after it
	index  int           // of the interface that conn is bound to; belongs to Recv
	looked time.Time     // belongs to Recv
	recvMu sync.Mutex    // held by Recv; Close waits for it

	connMu sync.RWMutex
	conn   *raw.Conn

	free   chan []byte // empty slots
	filled chan []byte // frames, in order of arrival
	wake   chan struct{}
	done   chan struct{} // closed by Close
	failed chan error    // from the receiving goroutine, once
	pumps  sync.WaitGroup
	timer  *time.Timer // belongs to Recv

	closeOnce sync.Once
	state     atomic.Pointer[link.State]
	counted   counters
}

type counters struct {
	received, receivedBytes, truncated     atomic.Uint64
	sent, sentBytes, sendDropped           atomic.Uint64
	kernelDropped, flaps, dropsOfOldSocket atomic.Uint64
}

var _ link.Link = (*Link)(nil)

// Open opens the interface with the given name. It needs CAP_NET_RAW on Linux
// and access to /dev/bpf elsewhere.
func Open(ifname string) (*Link, error) {
	observer, info, err := nic.Open(ifname)
	if err != nil {
		return nil, fmt.Errorf("raw: %w", err)
	}
	conn, err := listen(info)
	if err != nil {
		observer.Close()
		return nil, err
	}
	l := &Link{
		name:   ifname,
		nic:    observer,
		index:  info.Index,
		looked: time.Now(),
		conn:   conn,
		free:   make(chan []byte, slots),
		filled: make(chan []byte, slots),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		failed: make(chan error, 1),
	}
	first, _ := info.State(link.State{}, false)
	first.Generation = 0
	l.state.Store(&first)
	for range slots {
		l.free <- nil // made when first filled, and when the MTU has grown
	}
	l.pumps.Go(l.pump)
	return l, nil
}

// listen opens a socket on the interface that receives AoE frames for us.
func listen(info nic.Info) (*raw.Conn, error) {
	ifi := &net.Interface{Index: info.Index, Name: info.Name, MTU: info.MTU, HardwareAddr: info.MAC[:]}
	conn, err := raw.ListenPacket(ifi, uint16(frame.EtherType), &raw.Config{Filter: filter()})
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("raw: %s: needs CAP_NET_RAW: run as root, or setcap cap_net_raw+ep aoe: %w", info.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("raw: %s: %w", info.Name, err)
	}
	// On Linux the filter is there already, attached before the socket was
	// bound. Elsewhere the library's own cuts frames to the MTU without the
	// Ethernet header, 14 bytes short: replace it.
	if err := conn.SetBPF(filter()); err != nil {
		conn.Close()
		return nil, fmt.Errorf("raw: %s: filter: %w", info.Name, err)
	}
	return conn, nil
}

// setState publishes what the interface is, if that is news.
func (l *Link) setState(info nic.Info, replaced bool) {
	old := l.state.Load()
	s, wentDown := info.State(*old, replaced)
	if wentDown {
		l.counted.flaps.Add(1)
	}
	if s != *old {
		l.state.Store(&s)
	}
}

// State is [link.Link.State].
func (l *Link) State() link.State { return *l.state.Load() }

// Stats is [link.Link.Stats].
func (l *Link) Stats() link.Stats {
	c := &l.counted
	l.connMu.RLock()
	// An error means that the platform has no counters, or that the link is
	// closed: what was counted last stays.
	if s, err := l.conn.Stats(); err == nil {
		c.kernelDropped.Store(c.dropsOfOldSocket.Load() + s.Drops)
	}
	l.connMu.RUnlock()
	return link.Stats{
		Received:      c.received.Load(),
		ReceivedBytes: c.receivedBytes.Load(),
		Sent:          c.sent.Load(),
		SentBytes:     c.sentBytes.Load(),
		Truncated:     c.truncated.Load(),
		KernelDropped: c.kernelDropped.Load(),
		SendDropped:   c.sendDropped.Load(),
		Flaps:         c.flaps.Load(),
	}
}

// Wake is [link.Link.Wake].
func (l *Link) Wake() {
	select {
	case l.wake <- struct{}{}:
	default: // one is enough
	}
}

// isClosed reports whether Close has been called.
func (l *Link) isClosed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *Link) errClosed() error { return fmt.Errorf("raw: %s: %w", l.name, net.ErrClosed) }

// Close is [link.Link.Close].
func (l *Link) Close() error {
	var err error
	l.closeOnce.Do(func() {
		l.Stats()        // the last count of what the kernel dropped
		close(l.done)    // Recv leaves
		l.recvMu.Lock()  // and has left: it replaces the connection no more
		err = l.hangUp() // the goroutine's read fails
		l.pumps.Wait()   // and it ends
		if e := l.nic.Close(); err == nil {
			err = e
		}
		l.recvMu.Unlock()
	})
	return err
}

func (l *Link) hangUp() error {
	l.connMu.Lock()
	defer l.connMu.Unlock()
	if err := l.conn.Close(); err != nil {
		return fmt.Errorf("raw: %s: %w", l.name, err)
	}
	return nil
}
