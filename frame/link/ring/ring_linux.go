package ring

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"aoe/frame/link"
	"aoe/frame/link/internal/nic"

	"golang.org/x/sys/unix"
)

// A Link is one interface of Linux, opened with Open.
type Link struct {
	name string

	// recvMu is held by Recv, which owns what it guards, and by Close, which
	// waits for Recv to leave.
	recvMu sync.Mutex
	rx     receiver
	nic    *nic.Observer
	index  int // of the interface that the sockets are bound to
	waiter waiter
	alarm  alarm
	calls  int // of Recv, see lookEvery

	// fdMu keeps descriptors open while others than Recv use them: Send, Wake
	// and Stats hold it for reading, Close for writing.
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

// lookEvery is how many calls of Recv that find frames, and so never wait, pass
// between two looks for changes of the interface.
const lookEvery = 256

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
	l := &Link{name: cfg.Interface, tx: -1, wakeFD: -1, rx: receiver{fd: -1}, alarm: alarm{fd: -1}, waiter: waiter{fd: -1}}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	observer, info, err := nic.Open(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	l.nic, l.index = observer, info.Index
	l.state.Store(&link.State{Name: info.Name, MAC: info.MAC, MTU: info.MTU, Up: info.Up})
	if l.rx, err = openReceiver(cfg, info.Index, info.MTU); err != nil {
		return nil, err
	}
	if l.tx, err = openSender(info.Index); err != nil {
		return nil, err
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("ring: eventfd: %w", err)
	}
	if l.alarm, err = openAlarm(); err != nil {
		return nil, err
	}
	l.waiter, err = openWaiter([sources]int{onRing: l.rx.fd, onWake: l.wakeFD, onInterface: l.nic.FD(), onAlarm: l.alarm.fd})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Link) errClosed() error { return fmt.Errorf("ring: %s: %w", l.name, net.ErrClosed) }

// Recv is [link.Link.Recv].
func (l *Link) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	l.recvMu.Lock()
	defer l.recvMu.Unlock()
	if l.closed.Load() {
		return 0, l.errClosed()
	}
	// The ring first: finding a frame there takes no system call.
	if n := l.drain(bufs); n > 0 || timeout == 0 || len(bufs) == 0 {
		if l.calls++; l.calls%lookEvery == 0 && l.nic.Changed() {
			return n, l.follow()
		}
		return n, nil
	}
	end := l.alarm.now() + timeout
	for {
		if timeout > 0 {
			if err := l.alarm.set(end); err != nil {
				return 0, err
			}
		}
		n, done, err := l.sleep(bufs)
		if n > 0 || done || err != nil {
			return n, err
		}
		if timeout > 0 && l.alarm.now() >= end {
			return 0, nil
		}
	}
}

// sleep waits once, and is done when Recv has to return although there are no
// frames.
func (l *Link) sleep(bufs [][]byte) (n int, done bool, err error) {
	if !l.wake.CompareAndSwap(awake, asleep) {
		l.wake.Store(awake) // it was pending
		if l.closed.Load() {
			return 0, true, l.errClosed()
		}
		return 0, true, nil
	}
	err = l.waiter.wait()
	woken := l.wake.Swap(awake) == pending
	switch {
	case l.closed.Load():
		return 0, true, l.errClosed()
	case err != nil:
		return 0, true, err
	}
	if l.waiter.said[onWake] != 0 {
		// Whoever wrote it: a Wake whose write came late must not leave the
		// eventfd readable, or no later sleep would last.
		l.drainWake()
	}
	if l.waiter.said[onAlarm] != 0 {
		l.alarm.rang()
	}
	changed, err := l.heedSockets()
	if err != nil {
		return 0, true, err
	}
	return l.drain(bufs), woken || changed, nil
}

// heedSockets sees to what the last wait has told beside frames and wake-ups.
func (l *Link) heedSockets() (changed bool, err error) {
	if l.waiter.said[onRing]&unix.EPOLLERR != 0 {
		// ENETDOWN is left as a pending error when the interface goes down;
		// reading it is what makes waiting possible again (H19).
		if _, err := unix.GetsockoptInt(l.rx.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return false, fmt.Errorf("ring: SO_ERROR: %w", err)
		}
	}
	if l.waiter.said[onInterface] == 0 || !l.nic.Changed() {
		return false, nil
	}
	before := l.state.Load().Generation
	err = l.follow()
	return l.state.Load().Generation != before, err
}

// drain moves the frames that are in the ring into bufs.
func (l *Link) drain(bufs [][]byte) int {
	n, bytes := 0, 0
	for n < len(bufs) && l.rx.mem != nil { // nil: growing it has failed
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

// Wake is [link.Link.Wake].
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

func (l *Link) drainWake() {
	var count [8]byte
	_, _ = unix.Read(l.wakeFD, count[:]) // EAGAIN: nothing to drain
}

// State is [link.Link.State].
func (l *Link) State() link.State { return *l.state.Load() }

// Stats is [link.Link.Stats].
func (l *Link) Stats() link.Stats {
	c := &l.counted
	l.fdMu.RLock()
	if !l.closed.Load() {
		l.countDrops()
	}
	l.fdMu.RUnlock()
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

// countDrops adds the kernel's count, which is reset by reading it.
func (l *Link) countDrops() {
	if drops, err := kernelDrops(l.rx.fd); err == nil {
		l.counted.kernelDropped.Add(uint64(drops))
	}
}

// Close is [link.Link.Close].
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.wake.Store(pending)
	l.writeWake()
	l.recvMu.Lock() // Recv has left
	defer l.recvMu.Unlock()
	l.fdMu.Lock() // and so has everybody else
	defer l.fdMu.Unlock()
	l.countDrops()
	return l.release()
}

// release closes everything that is open. Nobody else uses the Link any more.
func (l *Link) release() error {
	err := l.rx.close()
	for _, fd := range []*int{&l.waiter.fd, &l.tx, &l.wakeFD} {
		if *fd >= 0 {
			if e := unix.Close(*fd); err == nil {
				err = e
			}
			*fd = -1
		}
	}
	if e := l.alarm.close(); err == nil {
		err = e
	}
	if l.nic != nil {
		if e := l.nic.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("ring: %s: %w", l.name, err)
	}
	return nil
}
