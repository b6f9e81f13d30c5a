package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func clearStale(ctx context.Context, dir string) error {
	// As the kernel shows it.
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	d := &fuseDevice{dir: dir, point: filepath.Join(dir, "mnt")}
	_ = until(ctx, func() bool { // err says more
		err = d.claim()
		return !errors.Is(err, ErrAttached)
	})
	if err != nil {
		return err
	}
	defer d.lock.Close()
	return cleanStaleSoon(ctx, d.point)
}

// cleanStaleSoon is cleanStale, also if what was mounted on the device a moment
// ago is still in the way.
func cleanStaleSoon(ctx context.Context, point string) error {
	for {
		err := cleanStale(ctx, point)
		var inUse *InUseError
		if !errors.As(err, &inUse) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond): // who uses it is not cheap to find
		case <-ctx.Done():
			return err
		}
	}
}

// cleanStale removes what a process that died left at point: the kernel ends
// its connection, so that every access fails with ENOTCONN, but the mount
// stays, and so does a loop device that is in use. Only who holds the lock of
// the directory may call it.
func cleanStale(ctx context.Context, point string) error {
	for _, l := range backingLoops(filepath.Join(point, diskFile)) {
		if err := l.cleanStale(ctx); err != nil {
			return err
		}
	}
	for staleMount(point) {
		var err error
		if until(ctx, func() bool {
			err = unix.Unmount(point, 0)
			return !errors.Is(err, unix.EBUSY)
		}) != nil {
			return fmt.Errorf("attach: %s, left by a process that died, is busy: umount -l %s: %w", point, point, ctx.Err())
		}
		if err != nil {
			return fmt.Errorf("attach: unmounting %s, left by a process that died: %w", point, err)
		}
	}
	return nil
}

// staleMount reports whether a file system of ours is mounted at point.
func staleMount(point string) bool {
	for _, m := range mounts() {
		if m.point == point && strings.HasPrefix(m.kind, "fuse") {
			return true
		}
	}
	return false
}

// cleanStale detaches a device whose file is dead.
func (l *loop) cleanStale(ctx context.Context) error {
	file, err := os.OpenFile(l.path, os.O_RDONLY|unix.O_EXCL, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return &InUseError{Device: l.path, By: append(usersOf(l.path), "and dead, because the process that served it died")}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("attach: %w", err)
	}
	l.file = file
	// With the claim open nobody can begin to use it; it goes with the claim.
	if err := l.drop(); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return !l.attached() }); err != nil {
		return &InUseError{Device: l.path, By: openersOf(l.path)}
	}
	return nil
}
