package xdp

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A queue is the socket of one queue of the interface, with its memory and rings.
// It belongs to Recv, but for drops.
type queue struct {
	fd    int
	shape shape
	umem  []byte
	maps  [][]byte // of the rings

	// fill is the ring by which chunks are given to the kernel, and rx the one by
	// which frames come back. Both have room for all chunks.
	fill struct {
		index
		addrs []uint64
	}
	rx struct {
		index
		descs []unix.XDPDesc
	}

	dropped atomic.Uint64 // as the kernel last told
}

// An index is where a ring is written and where it is read. The side that moves
// one of the two has stored its last, and the other side loads it.
type index struct {
	producer, consumer *uint32
	mask               uint32
}

// newQueue makes the memory of a queue.
func newQueue(s shape) (*queue, error) {
	if s.bytes() > maxBytes {
		return nil, fmt.Errorf("%d chunks of %d bytes take %d bytes: at most %d: %w", s.chunks, s.chunk, s.bytes(), maxBytes, unix.ENOMEM)
	}
	umem, err := unix.Mmap(-1, 0, s.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("memory for %d chunks of %d bytes: %w", s.chunks, s.chunk, err)
	}
	return &queue{fd: -1, shape: s, umem: umem}, nil
}

// open makes the socket and binds it to the interface's queue id. It says whether
// frames may take several chunks, which needs Linux 6.6.
func (q *queue) open(ifindex int, id uint32, single bool) (several bool, err error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, fmt.Errorf("AF_XDP socket: %w", needs(err))
	}
	q.fd = fd
	defer func() {
		if err != nil {
			err = errors.Join(err, q.shut())
		}
	}()
	if err := registerMemory(fd, q.umem, q.shape.chunk); err != nil {
		return false, fmt.Errorf("registering %d bytes of memory: needs RLIMIT_MEMLOCK or CAP_IPC_LOCK: %w", len(q.umem), err)
	}
	if err := q.makeRings(); err != nil {
		return false, err
	}
	for i := range q.shape.chunks {
		q.fill.addrs[i] = uint64(i * q.shape.chunk)
	}
	atomic.StoreUint32(q.fill.producer, uint32(q.shape.chunks))
	if !single {
		err = q.bind(ifindex, id, unix.XDP_COPY|unix.XDP_USE_SG)
		if err == nil || !errors.Is(err, unix.EINVAL) {
			return err == nil, err
		}
	}
	return false, q.bind(ifindex, id, unix.XDP_COPY)
}

// A queue that another socket had is free only when the kernel's worker has taken
// that one apart, some time after it was closed: so bind tries for a while.
const (
	bindPatience = 3 * time.Second
	bindPause    = time.Millisecond
)

func (q *queue) bind(ifindex int, id uint32, flags uint16) error {
	for end := time.Now().Add(bindPatience); ; time.Sleep(bindPause) {
		err := unix.Bind(q.fd, &unix.SockaddrXDP{Flags: flags, Ifindex: uint32(ifindex), QueueID: id})
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("bind to queue %d of interface %d: %w", id, ifindex, err)
		case time.Now().After(end):
			return fmt.Errorf("queue %d: %w: %w", id, ErrInUse, err)
		}
	}
}

// What next found.
type verdict int

const (
	nothing   verdict = iota
	whole             // copied
	truncated         // longer than the buffer: given back
)

// next moves the next frame into buf and gives its chunks back.
//
// "The kernel is the producer and user-space the consumer" of the receive ring,
// and the other way round of the fill ring (Documentation/networking/af_xdp.rst).
// The kernel publishes all descriptors of a frame at once.
func (q *queue) next(buf []byte) (n int, v verdict) {
	head, end := atomic.LoadUint32(q.rx.consumer), atomic.LoadUint32(q.rx.producer)
	if head == end {
		return 0, nothing
	}
	to := buf[:cap(buf)]
	fill := atomic.LoadUint32(q.fill.producer)
	for more := true; more && head != end; head++ {
		d := q.rx.descs[head&q.rx.mask]
		if n+int(d.Len) <= len(to) {
			copy(to[n:], q.umem[d.Addr:d.Addr+uint64(d.Len)])
		}
		n += int(d.Len)
		q.fill.addrs[fill&q.fill.mask] = d.Addr &^ uint64(q.shape.chunk-1)
		fill++
		more = d.Options&unix.XDP_PKT_CONTD != 0
	}
	atomic.StoreUint32(q.fill.producer, fill)
	atomic.StoreUint32(q.rx.consumer, head)
	if n > len(to) {
		return 0, truncated
	}
	return n, whole
}

// drops are what the kernel had no room for since the last call.
func (q *queue) drops() uint64 {
	if q.fd < 0 {
		return 0
	}
	now, err := kernelDrops(q.fd)
	if err != nil {
		return 0
	}
	// Modulo 2^64 it adds up, whatever the order of those who call.
	return now - q.dropped.Swap(now)
}

// shut closes the socket, and keeps the memory.
func (q *queue) shut() error {
	var errs []error
	for _, m := range q.maps {
		errs = append(errs, unix.Munmap(m))
	}
	q.maps = nil
	if q.fd >= 0 {
		errs = append(errs, unix.Close(q.fd))
		q.fd = -1
	}
	q.dropped.Store(0)
	return errors.Join(errs...)
}

// close gives everything back.
func (q *queue) close() error {
	err := q.shut()
	if q.umem != nil {
		err = errors.Join(err, unix.Munmap(q.umem))
		q.umem = nil
	}
	return err
}
