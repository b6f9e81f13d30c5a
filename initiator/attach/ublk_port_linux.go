package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ublkChar is the character device of a ublk device, /dev/ublkcN: a ublkPort
// over a ring of io_uring.
type ublkChar struct {
	fd    int
	descs []byte // what the kernel tells of requests, read-only
	depth int
	ring  *uring // made by the queue's thread
	iov   []unix.Iovec

	// woken is an eventfd that a read of the ring always waits for. It blocks:
	// io_uring would not wait for one that does not.
	woken    int
	told     int // the eventfd that news is
	wakeRead [8]byte
	one      [8]byte
	reading  bool
}

// ublkWoken is the user data of that read; others are tags.
const ublkWoken = 1 << 32

// openUblkChar opens the device. The one that a dying process had open is
// closed by the kernel a moment after its end.
func openUblkChar(id uint32, depth int) (*ublkChar, error) {
	c := &ublkChar{depth: depth, woken: -1, told: -1, iov: make([]unix.Iovec, 0, maxIovec)}
	path := fmt.Sprintf("/dev/ublkc%d", id)
	var err error
	if c.fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("attach: opening %s: %w", path, err)
	}
	size := (depth*ublkDescLen + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	if c.descs, err = unix.Mmap(c.fd, 0, size, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		c.close()
		return nil, fmt.Errorf("attach: mapping %s: %w", path, err)
	}
	if c.woken, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		c.close()
		return nil, fmt.Errorf("attach: eventfd: %w", err)
	}
	if c.told, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		c.close()
		return nil, fmt.Errorf("attach: eventfd: %w", err)
	}
	binary.NativeEndian.PutUint64(c.one[:], 1)
	return c, nil
}

// open implements ublkPort.
func (c *ublkChar) open() (err error) {
	if c.ring, err = newUring(c.depth+1, true); err != nil {
		return err
	}
	return c.ring.tell(c.told)
}

// news implements ublkPort.
func (c *ublkChar) news() int { return c.told }

// staged implements ublkPort.
func (c *ublkChar) staged() bool { return c.ring.staged() }

func (c *ublkChar) close() {
	if c.ring != nil {
		c.ring.close()
	}
	if c.descs != nil {
		unix.Munmap(c.descs)
	}
	for _, fd := range []int{c.woken, c.told} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	unix.Close(c.fd)
}

// fetch implements ublkPort.
func (c *ublkChar) fetch(tag int) { c.send(ublkFetch, tag, 0) }

// commit implements ublkPort.
func (c *ublkChar) commit(tag int, result int32) { c.send(ublkCommit, tag, result) }

// send has room: a tag has one command under way at most, and there is an entry
// for each.
func (c *ublkChar) send(op uint32, tag int, result int32) {
	putUblkIO(c.ring.command(c.ring.submission(), c.fd, op, uint64(tag)), tag, result)
}

// wait implements ublkPort.
func (c *ublkChar) wait(events []ublkEvent, block bool) ([]ublkEvent, error) {
	if !c.reading {
		c.ring.read(c.ring.submission(), c.woken, &c.wakeRead[0], len(c.wakeRead), ublkWoken)
		c.reading = true
	}
	n := 0
	if block {
		n = 1
	}
	if err := c.ring.enter(n); err != nil {
		return events, err
	}
	for {
		data, result, ok := c.ring.completion()
		if !ok {
			return events, nil
		}
		if data == ublkWoken {
			c.reading = false
			if e := unix.Errno(-result); result < 0 && e != unix.EAGAIN && e != unix.EINTR {
				return events, fmt.Errorf("attach: reading what wakes the ublk queue: %w", e)
			}
			continue
		}
		events = append(events, ublkEvent{tag: int(data), result: result})
	}
}

// wake implements ublkPort. EAGAIN would mean that it was called 2^64 times in
// vain.
func (c *ublkChar) wake() {
	unix.Syscall(unix.SYS_WRITE, uintptr(c.woken), uintptr(unsafe.Pointer(&c.one[0])), uintptr(len(c.one)))
}

// desc implements ublkPort. The kernel wrote it before the completion that told
// of it, which was taken with an atomic load.
func (c *ublkChar) desc(tag int) ublkDesc { return parseUblkDesc(c.descs[tag*ublkDescLen:]) }

// take implements ublkPort.
func (c *ublkChar) take(tag int, offset int64, segs [][]byte) error {
	return c.move(unix.SYS_PREADV, tag, offset, segs)
}

// give implements ublkPort.
func (c *ublkChar) give(tag int, offset int64, segs [][]byte) error {
	return c.move(unix.SYS_PWRITEV, tag, offset, segs)
}

// move copies between the request of a tag, whose data is in the file at a
// place of its own, and segs.
func (c *ublkChar) move(call uintptr, tag int, offset int64, segs [][]byte) error {
	total := segmentBytes(segs)
	at := ublkDataOffset(tag) + offset
	for skip := 0; skip < total; {
		c.iov = appendIovecs(c.iov[:0], segs, skip)
		n, errno := positioned(call, uintptr(c.fd), c.iov, at+int64(skip))
		if errno != 0 {
			return fmt.Errorf("attach: copying the data of a ublk request: %w", errno)
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		skip += n
	}
	clear(c.iov)
	return nil
}

// positioned is preadv(2) or pwritev(2), without the allocation of unix.Preadv.
// The offset is in two parts, of which the second is for 32-bit systems.
func positioned(call, fd uintptr, iov []unix.Iovec, offset int64) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)),
			uintptr(offset), uintptr(uint64(offset)>>32), 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// ublkControlPath is what control commands are sent to.
const ublkControlPath = "/dev/ublk-control"

// control sends one control command and waits for its outcome, for as long as
// the kernel takes. buffer, if there is one, is read or filled by the kernel.
// The ring is made for it: commands are few, and one that hangs must not keep
// others waiting.
func ublkControl(op uint32, dev uint32, data uint64, buffer []byte) error {
	control, err := unix.Open(ublkControlPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("attach: opening %s: %w", ublkControlPath, err)
	}
	defer unix.Close(control)
	ring, err := newUring(2, false)
	if err != nil {
		return err
	}
	defer ring.close()
	c := ublkCtrl{dev: dev, data: data, len: uint16(len(buffer))}
	if len(buffer) > 0 {
		// Memory that cannot move: the ring has only its address.
		shared, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("attach: %w", err)
		}
		defer unix.Munmap(shared)
		copy(shared, buffer)
		defer func() { copy(buffer, shared) }() // before it is unmapped
		c.addr = uint64(uintptr(unsafe.Pointer(&shared[0])))
	}
	c.put(ring.command(ring.submission(), control, op, 0))
	for {
		if err := ring.enter(1); err != nil {
			return err
		}
		if _, result, ok := ring.completion(); ok {
			if result < 0 {
				return unix.Errno(-result)
			}
			return nil
		}
	}
}

// retryControl is ublkControl for commands that wait in the kernel, and say
// EINTR when the worker that waits there is disturbed.
func retryControl(op uint32, dev uint32, data uint64, buffer []byte) error {
	for {
		if err := ublkControl(op, dev, data, buffer); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
