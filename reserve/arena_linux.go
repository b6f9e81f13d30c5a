package reserve

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is the memory of a Linux machine.
type system struct {
	meminfo int // /proc/meminfo, open for good: opening needs memory
	text    [4096]byte
}

func systemMemory() (memory, error) {
	fd, err := unix.Open("/proc/meminfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1 // then available looks at nothing
	}
	return &system{meminfo: fd}, nil
}

// mapping is one mmap, off the Go heap, that neither the collector nor the
// scavenger touches. It is only ever given back whole, by munmap: after
// MADV_DONTNEED the memory would have to be allocated anew when it is used.
func (s *system) mapping(n int, lock bool) ([]byte, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, err
	}
	b := unsafe.Slice((*byte)(p), n)
	// "The mmap() call doesn't fail if the mapping cannot be populated"
	// (mmap(2)), so ask again in a way that does: MADV_POPULATE_WRITE, since
	// Linux 5.14. Older kernels say EINVAL, and have to be believed.
	err = unix.Madvise(b, unix.MADV_POPULATE_WRITE)
	if err == unix.EINVAL {
		err = nil
	}
	if err == nil && lock {
		err = lockMemory(b)
	}
	if err != nil {
		_ = unix.MunmapPtr(p, uintptr(n))
		return nil, err
	}
	return b, nil
}

// A lockError is made only when a lock fails, which at start may allocate.
// Later it fails like any normal allocation, so it must not.
type lockError struct{ err unix.Errno }

func (e *lockError) Error() string {
	return "mlock: " + e.err.Error() + ": needs RLIMIT_MEMLOCK above the reserve's size (ulimit -l, LimitMEMLOCK=infinity in a unit), " +
		"or CAP_IPC_LOCK: run as root, or setcap cap_ipc_lock+ep"
}

func (e *lockError) Unwrap() error { return e.err }

var (
	errLockLimit   = &lockError{unix.ENOMEM}
	errLockAllowed = &lockError{unix.EPERM}
)

// lockMemory: "ENOMEM: the caller had a nonzero RLIMIT_MEMLOCK soft resource
// limit, but tried to lock more memory than the limit permitted"; "EPERM: the
// caller is not privileged, but needs privilege (CAP_IPC_LOCK)" (mlock(2)).
func lockMemory(b []byte) error {
	switch err := unix.Mlock(b); err {
	case unix.ENOMEM:
		return errLockLimit
	case unix.EPERM:
		return errLockAllowed
	default:
		return err
	}
}

func (s *system) unmap(b []byte) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

// available is MemAvailable: "an estimate of how much memory is available for
// starting new applications, without swapping" (proc_meminfo(5)). Reading the
// open file again needs no memory.
func (s *system) available() int64 {
	return s.field("MemAvailable:")
}

func (s *system) total() int64 { return s.field("MemTotal:") }

func (s *system) close() error {
	if s.meminfo < 0 {
		return nil
	}
	return unix.Close(s.meminfo)
}

func (s *system) field(name string) int64 {
	n, err := unix.Pread(s.meminfo, s.text[:], 0)
	if err != nil {
		return unknown
	}
	return parseMeminfo(s.text[:n], name)
}

// parseMeminfo finds a line like "MemAvailable:   24404416 kB", and does not
// allocate.
func parseMeminfo(text []byte, name string) int64 {
	i := bytes.Index(text, []byte(name))
	if i < 0 {
		return unknown
	}
	var kib int64
	for _, c := range bytes.TrimLeft(text[i+len(name):], " ") {
		if c < '0' || c > '9' {
			break
		}
		kib = kib*10 + int64(c-'0')
	}
	return kib << 10
}
