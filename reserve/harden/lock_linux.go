package harden

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockFuture: with a limit on locked memory, and without the capability that lifts
// it, mlockall(2) takes MCL_FUTURE all the same, and then every mmap(2) beyond
// the limit fails, at which the Go runtime gives up. So such a limit is a failure
// now.
func (*linux) lockFuture() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	may, err := mayLock()
	if err != nil {
		return err
	}
	if limit.Cur != unix.RLIM_INFINITY && !may {
		return fmt.Errorf("mlockall: RLIMIT_MEMLOCK is %d KiB, and without CAP_IPC_LOCK it counts: %w", limit.Cur>>10, unix.EPERM)
	}
	if err := unix.Mlockall(unix.MCL_FUTURE); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	return nil
}

// mayLock reports whether CAP_IPC_LOCK is effective.
func mayLock() (bool, error) {
	var set [2]unix.CapUserData // "_LINUX_CAPABILITY_VERSION_3: two elements" (capget(2))
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &set[0])
	if err != nil {
		return false, fmt.Errorf("capget: %w", err)
	}
	return set[0].Effective>>unix.CAP_IPC_LOCK&1 == 1, nil
}

func (*linux) unlock() error { return unix.Munlockall() }

func (*linux) mappings() (all []mapping, err error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		m, err := parseMapping(line)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMapping reads a line of proc_pid_maps(5): "address perms offset dev inode
// pathname".
func parseMapping(line string) (m mapping, err error) {
	f := strings.Fields(line)
	if len(f) < 5 || len(f[1]) != 4 {
		return m, fmt.Errorf("maps: %q is not a mapping", line)
	}
	from, to, _ := strings.Cut(f[0], "-")
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return m, err
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil {
		return m, err
	}
	name := ""
	if len(f) > 5 {
		name = f[5]
	}
	return mapping{
		start: uintptr(start), end: uintptr(end),
		accessible: f[1][0] == 'r',
		anonymous:  f[1][3] == 'p' && f[4] == "0",
		special:    name == "[vdso]" || name == "[vsyscall]" || strings.HasPrefix(name, "[vvar"),
	}, nil
}

// resident asks mincore(2) for one byte per page.
func (*linux) resident(start, n uintptr) (bool, error) {
	page := uintptr(os.Getpagesize())
	there := make([]byte, (n+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, start, n, uintptr(unsafe.Pointer(unsafe.SliceData(there))))
	switch errno {
	case 0:
	case unix.ENOMEM: // "addr to addr + length contained unmapped memory"
		return false, errGone
	default:
		return false, fmt.Errorf("mincore: %w", errno)
	}
	for _, b := range there {
		if b&1 != 0 {
			return true, nil
		}
	}
	return false, nil
}

// lock: mlock2(2) with MLOCK_ONFAULT needs Linux 4.4. ENOMEM is the limit, or a
// range that is no longer mapped.
func (l *linux) lock(start, n uintptr, onFault bool) error {
	flags := uintptr(0)
	if onFault {
		flags = unix.MLOCK_ONFAULT
	}
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, start, n, flags)
	switch {
	case errno == 0:
		return nil
	case errno == unix.ENOMEM:
		if _, err := l.resident(start, n); err == errGone {
			return errGone
		}
	}
	return fmt.Errorf("mlock2: %w", errno)
}
