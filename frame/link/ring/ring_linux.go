package ring

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"aoe/frame/link"

	"golang.org/x/sys/unix"
)

// A Link is one interface of Linux, opened with Open.
type Link struct {
	cfg Config

	// recvMu is held by Recv, which owns what it guards, and by Close, which
	// waits for Recv to leave.
	recvMu  sync.Mutex
	rx      receiver
	watch   watcher
	waiting [3]unix.PollFd // for ppoll: ring, wake-ups, changes of interfaces

	// fdMu keeps descriptors open while others than Recv use them: Send and
	// Wake hold it for reading, Close for writing.
	fdMu   sync.RWMutex
	tx     int // socket for sending
	wakeFD int // eventfd(2)
	closed atomic.Bool

	// wake is one of the wake states below. It spares Wake the system call
	// when nobody sleeps.
	wake atomic.Int32

	state   atomic.Pointer[link.State]
	counted counters
}

// States of Link.wake.
const (
	awake   = iota // Recv is not waiting, or not called
	asleep         // Recv waits, or is about to: Wake has to write the eventfd
	pending        // Wake was called: the next Recv does not wait
)

// counters are the Stats, each with one writer at a time or added atomically.
type counters struct {
	received, receivedBytes, truncated, foreign atomic.Uint64
	sent, sentBytes, sendDropped                atomic.Uint64
	kernelDropped, flaps                        atomic.Uint64
}

var _ link.Link = (*Link)(nil)

// Open opens the interface. It needs CAP_NET_RAW. The interface may be down.
func Open(cfg Config) (_ *Link, err error) {
	if cfg.Frames <= 0 {
		cfg.Frames = DefaultFrames
	}
	l := &Link{cfg: cfg, tx: -1, wakeFD: -1, rx: receiver{fd: -1}, watch: watcher{fd: -1}}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	// The watcher first: a change between looking and watching would be missed.
	if l.watch.fd, err = openWatch(); err != nil {
		return nil, err
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, noInterface(cfg.Interface, err)
	}
	l.setState(stateOf(ifi))
	l.watch.index = ifi.Index
	if l.rx, err = openReceiver(cfg, ifi.Index, ifi.MTU); err != nil {
		return nil, err
	}
	if l.tx, err = openSender(ifi.Index); err != nil {
		return nil, err
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("ring: eventfd: %w", err)
	}
	return l, nil
}

// noInterface says which interfaces there are.
func noInterface(name string, err error) error {
	all, listErr := net.Interfaces()
	if listErr != nil || len(all) == 0 {
		return fmt.Errorf("ring: interface %q: %w", name, err)
	}
	names := ""
	for _, ifi := range all {
		names += " " + ifi.Name
	}
	return fmt.Errorf("ring: interface %q: %w: there are%s", name, err, names)
}

// Recv implements link.Link.
func (l *Link) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	l.recvMu.Lock()
	defer l.recvMu.Unlock()
	if l.closed.Load() {
		return 0, errClosed
	}
	if n := l.drain(bufs); n > 0 || timeout == 0 {
		return n, nil
	}
	if !l.wake.CompareAndSwap(awake, asleep) {
		l.wake.Store(awake)
		return 0, nil
	}
	changed, err := l.sleep(timeout)
	if l.wake.Swap(awake) == pending {
		l.drainWake()
	}
	switch {
	case l.closed.Load():
		return 0, errClosed
	case err != nil:
		return 0, err
	case changed:
		if err := l.follow(); err != nil {
			return 0, err
		}
	}
	return l.drain(bufs), nil
}

// sleep waits for a frame, a wake-up, a change of the interface or the timeout.
func (l *Link) sleep(timeout time.Duration) (changed bool, err error) {
	l.waiting = [3]unix.PollFd{
		{Fd: int32(l.rx.fd), Events: unix.POLLIN},
		{Fd: int32(l.wakeFD), Events: unix.POLLIN},
		{Fd: int32(l.watch.fd), Events: unix.POLLIN},
	}
	if err := ppoll(&l.waiting, timeout); err != nil {
		return false, fmt.Errorf("ring: ppoll: %w", err)
	}
	if l.waiting[0].Revents&unix.POLLERR != 0 {
		// ENETDOWN is left as a pending error when the interface goes down;
		// reading it is what makes poll wait again (H19).
		if _, err := unix.GetsockoptInt(l.rx.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return false, fmt.Errorf("ring: SO_ERROR: %w", err)
		}
	}
	return l.waiting[2].Revents != 0, nil
}

// drain moves the frames that are in the ring into bufs.
func (l *Link) drain(bufs [][]byte) int {
	n, bytes := 0, 0
	for n < len(bufs) {
		size, verdict := l.rx.next(bufs[n])
		switch verdict {
		case slotEmpty:
			l.count(n, bytes)
			return n
		case slotTruncated:
			l.counted.truncated.Add(1)
		case slotForeign:
			l.counted.foreign.Add(1)
		case slotFrame:
			bufs[n] = bufs[n][:size]
			bytes += size
			n++
		}
	}
	l.count(n, bytes)
	return n
}

func (l *Link) count(frames, bytes int) {
	if frames > 0 {
		l.counted.received.Add(uint64(frames))
		l.counted.receivedBytes.Add(uint64(bytes))
	}
}

// Wake implements link.Link.
func (l *Link) Wake() {
	if l.wake.Swap(pending) == asleep {
		l.writeWake()
	}
}

func (l *Link) writeWake() {
	l.fdMu.RLock()
	defer l.fdMu.RUnlock()
	if l.wakeFD < 0 {
		return
	}
	one := [8]byte{1}
	// It can only fail with EAGAIN, when the counter is full: then it is
	// readable, which is all that is wanted.
	_, _ = unix.Write(l.wakeFD, one[:])
}

// drainWake resets the eventfd. EAGAIN means that the writer is not there yet:
// its write makes one later Recv return early, which is allowed.
func (l *Link) drainWake() {
	var count [8]byte
	_, _ = unix.Read(l.wakeFD, count[:])
}

// State implements link.Link.
func (l *Link) State() link.State { return *l.state.Load() }

// setState publishes s with the next generation, if it differs from what is
// published.
func (l *Link) setState(s link.State) {
	if old := l.state.Load(); old != nil {
		s.Generation = old.Generation
		if s == *old {
			return
		}
		if old.Up && !s.Up {
			l.counted.flaps.Add(1)
		}
		s.Generation++
	}
	l.state.Store(&s)
}

// Stats implements link.Link.
func (l *Link) Stats() link.Stats {
	l.recvStats()
	c := &l.counted
	return link.Stats{
		Received:      c.received.Load(),
		ReceivedBytes: c.receivedBytes.Load(),
		Sent:          c.sent.Load(),
		SentBytes:     c.sentBytes.Load(),
		Truncated:     c.truncated.Load(),
		Foreign:       c.foreign.Load(),
		KernelDropped: c.kernelDropped.Load(),
		SendDropped:   c.sendDropped.Load(),
		Flaps:         c.flaps.Load(),
	}
}

// Close implements link.Link.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.wake.Store(pending)
	l.writeWake()
	l.recvMu.Lock()
	defer l.recvMu.Unlock()
	l.fdMu.Lock()
	defer l.fdMu.Unlock()
	return l.release()
}
