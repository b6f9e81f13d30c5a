package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openFile opens what cfg names.
//
// "In general, the behavior of O_EXCL is undefined if it is used without
// O_CREAT. There is one exception: on Linux 2.6 and later, O_EXCL can be used
// without O_CREAT if pathname refers to a block device. If the block device is
// in use by the system (e.g., mounted), open() fails with the error EBUSY"
// (open(2)).
func openFile(cfg Config, device bool) (*os.File, error) {
	flags := os.O_RDONLY
	if !cfg.ReadOnly {
		flags = os.O_RDWR
		if device {
			flags |= unix.O_EXCL
		}
	}
	if cfg.Direct {
		flags |= directFlag
	}
	f, err := os.OpenFile(cfg.Path, flags, 0)
	switch {
	case cfg.Direct && refusesDirect(err):
		return nil, fmt.Errorf("%s: %w", cfg.Path, errNoDirect)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%s is %w: unmount it, or stop what uses it, or serve it read-only", cfg.Path, ErrLocked)
	case errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS):
		return nil, fmt.Errorf("%w: serve it read-only, or give this user the right to write it", err)
	case err != nil:
		return nil, err
	}
	if err := keepAccessTime(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// keepAccessTime spares the file system a look at its clock for each read, and
// writing down when a disk was read last, if the file is this user's: "the flag was
// specified, but the effective user ID of the caller did not match the owner of the
// file and the caller was not privileged" is EPERM (open(2), O_NOATIME).
func keepAccessTime(f *os.File) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags|unix.O_NOATIME)
	}
	if err != nil && err != unix.EPERM {
		return fmt.Errorf("%s: O_NOATIME: %w", f.Name(), err)
	}
	return nil
}

// fd is the file's descriptor. os.File.Fd would make the file blocking, which
// regular files and block devices are anyway.
func (s *file) fd() int { return int(s.f.Fd()) }

// lock takes an open file description lock on the window, so that two targets
// cannot serve the same bytes. A length of zero locks "to the end of file, no
// matter how large the file grows" (fcntl(2)).
func (s *file) lock() error {
	if s.device {
		return nil // O_EXCL has done it
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: s.cfg.Offset, Len: s.cfg.Length}
	if s.cfg.ReadOnly {
		lk.Type = unix.F_RDLCK
	}
	err := unix.FcntlFlock(uintptr(s.fd()), unix.F_OFD_SETLK, &lk)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s is %w: another target, or another disk of this one, serves these bytes; "+
			"stop that one, or serve both read-only", s.cfg.Path, ErrLocked)
	case errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL):
		return nil // a file system without locks: nothing to be had
	}
	return err
}

// wholeSize is the size in bytes of the file or device.
func (s *file) wholeSize() (int64, error) {
	if !s.device {
		// Asked every second for as long as the disk is served: os.File.Stat
		// would allocate each time.
		var st unix.Stat_t
		if err := unix.Fstat(s.fd(), &st); err != nil {
			return 0, fmt.Errorf("size of %s: %w", s.cfg.Path, err)
		}
		return st.Size, nil
	}
	var n uint64
	if err := ioctl(s.fd(), unix.BLKGETSIZE64, unsafe.Pointer(&n)); err != nil {
		return 0, fmt.Errorf("size of %s: %w", s.cfg.Path, err)
	}
	return int64(n), nil
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// datasync is fdatasync(2): the data, and the metadata needed to read it back.
func (s *file) datasync() error {
	for {
		if err := unix.Fdatasync(s.fd()); err != unix.EINTR {
			return err
		}
	}
}

// discard punches a hole, or discards the sectors of a device.
func (s *file) discard(off, n int64) error {
	if s.device {
		// The device discards whole blocks only; zeros are not promised, so
		// what is left over may stay as it is.
		block := s.logicalBlock()
		from, to := (off+block-1)/block*block, (off+n)/block*block
		if from >= to {
			return nil
		}
		r := [2]uint64{uint64(from), uint64(to - from)}
		return ioctl(s.fd(), unix.BLKDISCARD, unsafe.Pointer(&r))
	}
	for {
		err := unix.Fallocate(s.fd(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if err != unix.EINTR {
			return err
		}
	}
}

// readNow reads what is in the page cache.
//
// "RWF_NOWAIT: Do not wait for data which is not immediately available. If this
// flag is specified, the preadv2() system call will return instantly if it
// would have to read data from the backing storage or wait for a lock"
// (preadv2(2)). A hit costs no more than pread: 1.2 µs for 4 KiB on ext4.
// tmpfs answers EOPNOTSUPP, but has no backing storage short of swap.
func (s *file) readNow(p []byte, at int64) error {
	if s.prompt == inMemory {
		n, err := unix.Pread(s.fd(), p, at)
		if n < len(p) {
			return unexpected(err)
		}
		return nil
	}
	var one [1][]byte
	one[0] = p
	if n, err := s.readTogether(one[:], at, true); err != nil || n < len(p) {
		// EAGAIN means not in the cache. Any other error is better had from
		// a read that may wait, which is asked next.
		return ErrWouldBlock
	}
	return nil
}

// readTogether is preadv2(2): with quick set it does not wait for the device.
func (s *file) readTogether(bufs [][]byte, at int64, quick bool) (int, error) {
	flags := uintptr(0)
	if quick {
		flags = unix.RWF_NOWAIT
	}
	n, e := s.vector(unix.SYS_PREADV2, bufs, at, flags)
	if quick && (e == unix.EOPNOTSUPP || e == unix.ENOSYS) {
		s.noQuick.Store(true)
	}
	if e != 0 {
		return 0, e
	}
	return n, nil
}

// writeTogether is pwritev2(2).
func (s *file) writeTogether(bufs [][]byte, at int64) (int, error) {
	n, e := s.vector(unix.SYS_PWRITEV2, bufs, at, 0)
	if e != 0 {
		return 0, e
	}
	return n, nil
}

// vector makes a call for up to MaxGather buffers.
func (s *file) vector(trap uintptr, bufs [][]byte, at int64, flags uintptr) (int, unix.Errno) {
	var iov [MaxGather]unix.Iovec
	for i, b := range bufs {
		iov[i].Base = unsafe.SliceData(b)
		iov[i].SetLen(len(b))
	}
	for {
		// The offset is passed in two halves; on 64 bits the first takes it all.
		n, _, e := unix.Syscall6(trap, uintptr(s.fd()), uintptr(unsafe.Pointer(&iov)), uintptr(len(bufs)),
			uintptr(at), uintptr(uint64(at)>>32>>halfShift), flags)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// halfShift makes the upper half of an offset vanish where a register holds all
// of it: "unsigned long pos_l, unsigned long pos_h" (preadv2 system call).
const halfShift = 32 * (^uintptr(0) >> 63)
