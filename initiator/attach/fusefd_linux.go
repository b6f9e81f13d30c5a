package attach

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepToOurselves keeps children of this process from inheriting /dev/fuse,
// which go-fuse opens without O_CLOEXEC. As long as anybody has it open the
// kernel takes the file system for served: a child that uses the device would
// wait for ever when this process has died, instead of getting an I/O error.
func keepToOurselves() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if path, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || path != "/dev/fuse" {
			continue // it may be closed by now, as that of the directory is
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return err
		}
	}
	return nil
}
