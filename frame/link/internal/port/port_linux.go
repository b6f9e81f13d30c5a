package port

import (
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"aoe/frame/link"
	"aoe/frame/link/internal/nic"
	"aoe/frame/link/turn"

	"golang.org/x/sys/unix"
)

// A Receiver is how frames come in.
type Receiver interface {
	// FDs are the descriptors that are readable when there are frames. They
	// change only in Follow.
	FDs() []int

	// Drain moves the frames that are there into bufs, without a system call.
	Drain(bufs [][]byte) Drained

	// Heed is called when waiting has reported an error of descriptor i.
	Heed(i int) error

	// Follow is called when the interface has changed. Replaced tells that it
	// is another one than before; it may be gone again.
	Follow(info nic.Info, replaced bool) error

	// MTU is how much of an interface's MTU can be received.
	MTU(interfaces int) int

	// Drops are the frames that the kernel had no room for since the last call.
	Drops() uint64

	// Close gives everything back.
	Close() error
}

// Drained is what Drain did.
type Drained struct {
	Frames, Bytes      int
	Truncated, Foreign int // dropped, see link.Stats
}

// A Config says what to open. All of it but Poll is needed.
type Config struct {
	// Package is the name of the package that the link is of, for errors.
	Package string
	// Interface is its name, in the network namespace of the calling thread.
	Interface string
	// Poll is how long a wait looks for frames before it sleeps, where that has
	// been of use lately. Zero: it sleeps at once.
	Poll time.Duration
	// Receive opens the receiver.
	Receive func(nic.Info) (Receiver, error)
}

// A Link is one interface of Linux, opened with Open.
type Link struct {
	pkg, name string

	// recvMu is held by Recv, which owns what it guards, and by Close, which
	// waits for Recv to leave.
	recvMu sync.Mutex
	rx     Receiver
	nic    *nic.Observer
	index  int // of the interface that the sockets are bound to
	waiter waiter
	alarm  alarm
	poller poller
	turn   turn.Turn // of the goroutine that receives
	calls  int       // of Recv, see lookEvery
	heard  bool

	// fdMu keeps descriptors open while others than Recv use them: Send, Wake
	// and Stats hold it for reading, Close and a replacement for writing.
	fdMu   sync.RWMutex
	tx     int // socket for sending
	wakeFD int // eventfd(2)
	closed atomic.Bool

	watching atomic.Bool // there was a Watch

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

// never is when a Recv without a timeout ends, on the alarm's clock.
const never = time.Duration(math.MaxInt64)

// LookEvery is how many calls of Recv that find frames, and so never wait, pass
// between two looks for changes of the interface.
const LookEvery = 256

// counters are the Stats, each with one writer at a time or added atomically.
type counters struct {
	received, receivedBytes, truncated, foreign atomic.Uint64
	sent, sentBytes, sendDropped                atomic.Uint64
	kernelDropped, flaps                        atomic.Uint64
}

var _ link.Link = (*Link)(nil)

// Open opens the interface. It needs CAP_NET_RAW. The interface may be down.
func Open(cfg Config) (_ *Link, err error) {
	l := &Link{pkg: cfg.Package, name: cfg.Interface, tx: -1, wakeFD: -1, alarm: alarm{fd: -1}, poller: poller{most: cfg.Poll}, waiter: waiter{fd: -1}}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	observer, info, err := nic.Open(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.pkg, err)
	}
	l.nic, l.index = observer, info.Index
	if l.rx, err = cfg.Receive(info); err != nil {
		return nil, fmt.Errorf("%s: %w", l.pkg, err)
	}
	l.state.Store(&link.State{Name: info.Name, MAC: info.MAC, MTU: l.rx.MTU(info.MTU), Up: info.Up})
	if l.tx, err = openSender(info.Index); err != nil {
		return nil, fmt.Errorf("%s: %w", l.pkg, err)
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("%s: eventfd: %w", l.pkg, err)
	}
	if l.alarm, err = openAlarm(); err != nil {
		return nil, fmt.Errorf("%s: %w", l.pkg, err)
	}
	if l.waiter, err = openWaiter(); err == nil {
		err = l.waiter.watch(onWake, l.wakeFD, l.nic.FD(), l.alarm.fd)
	}
	if err == nil {
		err = l.waiter.watch(onFrames, l.rx.FDs()...)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.pkg, err)
	}
	return l, nil
}

func (l *Link) errClosed() error { return fmt.Errorf("%s: %s: %w", l.pkg, l.name, net.ErrClosed) }

// Recv is [link.Link.Recv].
func (l *Link) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	l.recvMu.Lock()
	defer l.recvMu.Unlock()
	if l.closed.Load() {
		return 0, l.errClosed()
	}
	// Here and not before a wait: a Recv that always finds frames never waits.
	l.turn.Yield()
	// What is there first: finding a frame takes no system call.
	if n := l.drain(bufs); n > 0 || timeout == 0 || len(bufs) == 0 {
		return n, l.lookOnceInAWhile()
	}
	end := never
	if timeout > 0 {
		end = l.alarm.now() + timeout
	}
	if l.poller.due() {
		switch n, err := l.poll(bufs, end); {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", l.pkg, err)
		case n > 0:
			return n, l.lookOnceInAWhile()
		}
	}
	for {
		if timeout > 0 {
			if err := l.alarm.set(end); err != nil {
				return 0, fmt.Errorf("%s: %w", l.pkg, err)
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

// lookOnceInAWhile follows the interface where Recv may never sleep.
func (l *Link) lookOnceInAWhile() error {
	if l.calls++; l.calls%LookEvery == 0 && l.nic.Changed() {
		return l.follow()
	}
	return nil
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
		return 0, true, fmt.Errorf("%s: %w", l.pkg, err)
	}
	if l.waiter.said[onWake] != 0 {
		// Whoever wrote it: a Wake whose write came late must not leave the
		// eventfd readable, or no later sleep would last.
		l.drainWake()
	}
	if l.waiter.said[onAlarm] != 0 {
		l.alarm.rang()
	}
	if l.waiter.said[onOther] != 0 {
		l.heard, woken = true, true
	}
	changed, err := l.heed()
	if err != nil {
		return 0, true, err
	}
	return l.drain(bufs), woken || changed, nil
}

// Watch is [link.Watcher.Watch].
func (l *Link) Watch(fd int) error {
	l.fdMu.RLock()
	defer l.fdMu.RUnlock()
	if l.waiter.fd < 0 {
		return l.errClosed()
	}
	l.watching.Store(true)
	// Told once, and not as long as it is so: whoever hears of it may not be able
	// to read yet. Room for writing is not told: a peer makes some with each read.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: onOther}
	if err := unix.EpollCtl(l.waiter.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("%s: epoll_ctl: %w", l.pkg, err)
	}
	return nil
}

// Heard is [link.Watcher.Heard].
func (l *Link) Heard() bool {
	heard := l.heard
	l.heard = false
	return heard
}

// heed sees to what the last wait has told beside frames and wake-ups.
func (l *Link) heed() (changed bool, err error) {
	for i, said := range l.waiter.said[onFrames:] {
		if said&unix.EPOLLERR == 0 {
			continue
		}
		if err := l.rx.Heed(i); err != nil {
			return false, fmt.Errorf("%s: %w", l.pkg, err)
		}
	}
	if l.waiter.said[onInterface] == 0 || !l.nic.Changed() {
		return false, nil
	}
	before := l.state.Load().Generation
	err = l.follow()
	return l.state.Load().Generation != before, err
}

// drain moves the frames that are there into bufs.
func (l *Link) drain(bufs [][]byte) int {
	d := l.rx.Drain(bufs)
	if d.Frames > 0 {
		l.counted.received.Add(uint64(d.Frames))
		l.counted.receivedBytes.Add(uint64(d.Bytes))
	}
	if d.Truncated > 0 {
		l.counted.truncated.Add(uint64(d.Truncated))
	}
	if d.Foreign > 0 {
		l.counted.foreign.Add(uint64(d.Foreign))
	}
	return d.Frames
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
		c.kernelDropped.Add(l.rx.Drops())
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
	l.counted.kernelDropped.Add(l.rx.Drops())
	return l.release()
}

// release closes everything that is open. Nobody else uses the Link any more.
func (l *Link) release() error {
	var err error
	if l.rx != nil {
		err = l.rx.Close()
	}
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
		return fmt.Errorf("%s: %s: %w", l.pkg, l.name, err)
	}
	return nil
}
