package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"aoe/frame/link/turn"

	"golang.org/x/sys/unix"
)

// io_uring(7), as far as ublk needs it: entries of 128 bytes, and no thread of
// the kernel's that polls. Layouts are those of include/uapi/linux/io_uring.h.
const (
	uringSetupCoopTaskrun  = 1 << 8
	uringSetupSQE128       = 1 << 10
	uringSetupSingleIssuer = 1 << 12
	uringSetupDeferTaskrun = 1 << 13

	uringEnterGetEvents   = 1 << 0
	uringRegisterEventFD  = 4
	uringFeatSingleMmap   = 1 << 0
	uringOffCompletions   = 0x8000000
	uringOffSubmissions   = 0x10000000
	uringOpRead           = 22
	uringOpURingCmd       = 46
	uringSubmissionLen    = 128
	uringCompletionLen    = 16
	uringSubmissionCmdOff = 48 // of the command's own bytes in a submission
	uringBackOff          = 1  // milliseconds, when the kernel has no memory
)

// uringParams is struct io_uring_params.
type uringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32

	sqHead, sqTail, sqMask, sqRingEntries, sqFlags, sqDropped, sqArray, sqResv uint32
	sqUserAddr                                                                 uint64

	cqHead, cqTail, cqMask, cqRingEntries, cqOverflow, cqes, cqFlags, cqResv uint32
	cqUserAddr                                                               uint64
}

// A uring is a pair of rings shared with the kernel. It belongs to one thread.
type uring struct {
	fd     int
	rings  []byte // head, tail and entries of both
	sqes   []byte
	params uringParams

	sqHead, sqTail, cqHead, cqTail *uint32
	sqMask, cqMask                 uint32
	tail                           uint32 // of the submissions; the kernel's is stored by enter
	poll                           [1]unix.PollFd
	turn                           turn.Turn // of the goroutine that waits
}

// newUring makes rings for that many entries. Of the flags that only save work
// those are left out that the kernel does not know.
func newUring(entries int, singleThread bool) (*uring, error) {
	tries := []uint32{uringSetupSQE128}
	if singleThread {
		tries = []uint32{
			uringSetupSQE128 | uringSetupSingleIssuer | uringSetupDeferTaskrun, // 6.1
			uringSetupSQE128 | uringSetupCoopTaskrun,                           // 5.19
		}
	}
	var errno unix.Errno
	for _, flags := range tries {
		r := &uring{params: uringParams{flags: flags}}
		var fd uintptr
		fd, _, errno = unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&r.params)), 0)
		if errno == unix.EINVAL {
			continue
		}
		if errno != 0 {
			break
		}
		r.fd = int(fd)
		if err := r.mapRings(); err != nil {
			r.close()
			return nil, err
		}
		return r, nil
	}
	if errno == unix.EPERM {
		return nil, fmt.Errorf("attach: io_uring_setup: %w: see sysctl kernel.io_uring_disabled and the seccomp filter", errno)
	}
	return nil, fmt.Errorf("attach: io_uring_setup: %w: ublk needs Linux 6.1 or later", errno)
}

func (r *uring) mapRings() error {
	p := &r.params
	if p.features&uringFeatSingleMmap == 0 {
		return errors.New("attach: this kernel's io_uring is too old for ublk")
	}
	size := max(p.sqArray+p.sqEntries*4, p.cqes+p.cqEntries*uringCompletionLen)
	var err error
	if r.rings, err = unix.Mmap(r.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("attach: mapping io_uring: %w", err)
	}
	if r.sqes, err = unix.Mmap(r.fd, uringOffSubmissions, int(p.sqEntries)*uringSubmissionLen,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("attach: mapping io_uring: %w", err)
	}
	r.sqHead, r.sqTail = r.word(p.sqHead), r.word(p.sqTail)
	r.cqHead, r.cqTail = r.word(p.cqHead), r.word(p.cqTail)
	r.sqMask, r.cqMask = *r.word(p.sqMask), *r.word(p.cqMask)
	// The indirection of submissions is not used: entry i is at place i.
	for i := range p.sqEntries {
		*r.word(p.sqArray + 4*i) = i
	}
	r.tail = *r.sqTail
	return nil
}

func (r *uring) word(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }

func (r *uring) close() {
	if r.sqes != nil {
		unix.Munmap(r.sqes)
	}
	if r.rings != nil {
		unix.Munmap(r.rings)
	}
	unix.Close(r.fd)
}

// submission is the next free entry, cleared, or nil when there is none until
// enter. It is submitted by enter.
func (r *uring) submission() []byte {
	if r.tail-atomic.LoadUint32(r.sqHead) == r.params.sqEntries {
		return nil
	}
	i := int(r.tail&r.sqMask) * uringSubmissionLen
	r.tail++
	b := r.sqes[i : i+uringSubmissionLen]
	clear(b)
	return b
}

// command fills a submission with a command of the file's driver, and returns
// the place of the command's own bytes.
func (r *uring) command(b []byte, fd int, op uint32, userData uint64) []byte {
	b[0] = uringOpURingCmd
	binary.NativeEndian.PutUint32(b[4:], uint32(fd))
	binary.NativeEndian.PutUint32(b[8:], op)
	binary.NativeEndian.PutUint64(b[32:], userData)
	return b[uringSubmissionCmdOff:]
}

// read fills a submission with a read of len bytes to memory that does not
// move.
func (r *uring) read(b []byte, fd int, to *byte, length int, userData uint64) {
	b[0] = uringOpRead
	binary.NativeEndian.PutUint32(b[4:], uint32(fd))
	binary.NativeEndian.PutUint64(b[8:], ^uint64(0)) // at the file's position
	binary.NativeEndian.PutUint64(b[16:], uint64(uintptr(unsafe.Pointer(to))))
	binary.NativeEndian.PutUint32(b[24:], uint32(length))
	binary.NativeEndian.PutUint64(b[32:], userData)
}

// enter submits what there is and waits for wait completions. It returns early
// when it is interrupted: whoever waits looks and calls again.
func (r *uring) enter(wait int) error {
	submit := r.tail - atomic.LoadUint32(r.sqHead)
	atomic.StoreUint32(r.sqTail, r.tail)
	if wait > 0 {
		r.turn.Yield()
	}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), uintptr(wait),
		uringEnterGetEvents, 0, 0)
	switch errno {
	case 0, unix.EINTR, unix.EBUSY:
		// EBUSY: completions are to be taken first. What was not submitted is
		// submitted by the next call.
		return nil
	case unix.EAGAIN:
		// "The kernel was unable to allocate memory for the request". Calling
		// again at once, from a real-time thread, would keep those from
		// running that can free some.
		r.poll[0] = unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN}
		_, err := unix.Poll(r.poll[:], uringBackOff)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("attach: polling io_uring: %w", err)
		}
		return nil
	}
	return fmt.Errorf("attach: io_uring_enter: %w", errno)
}

// staged reports whether there are submissions for enter.
func (r *uring) staged() bool { return r.tail != atomic.LoadUint32(r.sqHead) }

// tell has an eventfd written for each completion (io_uring_register(2),
// IORING_REGISTER_EVENTFD).
func (r *uring) tell(eventfd int) error {
	fd := int32(eventfd)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), uringRegisterEventFD, uintptr(unsafe.Pointer(&fd)), 1, 0, 0)
	if errno != 0 {
		return fmt.Errorf("attach: io_uring_register: %w", errno)
	}
	return nil
}

// completion takes the next completion, if there is one.
func (r *uring) completion() (userData uint64, result int32, ok bool) {
	head := atomic.LoadUint32(r.cqHead)
	if head == atomic.LoadUint32(r.cqTail) {
		return 0, 0, false
	}
	b := r.rings[r.params.cqes+(head&r.cqMask)*uringCompletionLen:]
	userData = binary.NativeEndian.Uint64(b)
	result = int32(binary.NativeEndian.Uint32(b[8:]))
	atomic.StoreUint32(r.cqHead, head+1)
	return userData, result, true
}
