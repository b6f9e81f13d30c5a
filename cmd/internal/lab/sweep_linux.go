package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dirPattern is the name of a lab's directory.
const dirPattern = "aoe-lab-*"

// occupy locks a lab's directory for as long as the lab lives. The lock ends with
// the process, so a directory that nobody has locked is a dead lab's.
func occupy(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes what labs left in parent that were killed: their namespaces went
// with them, their images and mounts did not.
func sweep(ctx context.Context, parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, dirPattern))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		if !ours(dir) {
			continue
		}
		lock, err := occupy(dir)
		if err != nil {
			continue // it lives, or was removed just now
		}
		if err := sweepDir(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("lab: removing what a lab that was killed left in %s: %w", dir, err))
		}
		lock.Close()
	}
	return errors.Join(errs...)
}

// ours reports whether dir is a directory that we made, and not somebody else's
// trap in a directory that everybody may write to.
func ours(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR &&
		int(st.Uid) == os.Geteuid() && st.Mode&0o077 == 0
}

// sweepDir removes the mounts in dir, then dir. The file system on the dead
// disk goes first; it can only be detached, not written out.
func sweepDir(ctx context.Context, dir string) error {
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved // as the kernel knows it
	}
	for _, point := range []string{"mnt", filepath.Join("run", Addr.String(), "mnt")} {
		point = filepath.Join(dir, point)
		mounted, err := isMounted(point)
		if err == nil && mounted {
			err = tool(ctx, "umount", "--lazy", point)
		}
		if err != nil {
			return err
		}
	}
	// Once more: RemoveAll must not get into a mount.
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if strings.Contains(string(text), " "+dir+"/") {
		return errors.New("something is mounted in it: unmount it")
	}
	return os.RemoveAll(dir)
}
