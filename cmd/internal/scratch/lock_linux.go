package scratch

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func tryLock(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrAlive
		}
		return nil, err
	}
	return f, nil
}

// ours reports whether dir is a directory that we made, and not somebody else's
// in a directory that everybody may write to.
func ours(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR &&
		int(st.Uid) == os.Geteuid() && st.Mode&0o077 == 0
}
