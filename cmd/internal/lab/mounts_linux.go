package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoints are those of this process's mount namespace, the latest last. Of
// two on one directory each is listed.
func mountPoints() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	// "The characters space, tab, newline and backslash are octally escaped"
	// (fstab(5)).
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			points = append(points, plain.Replace(fields[1]))
		}
	}
	return points, nil
}

// mountsIn are the mount points below dir.
func mountsIn(dir string) ([]string, error) {
	points, err := mountPoints()
	return slices.DeleteFunc(points, func(p string) bool { return !strings.HasPrefix(p, dir+"/") }), err
}

// unmountAll unmounts whatever is mounted on point.
func unmountAll(point string, flags int) error {
	for {
		points, err := mountPoints()
		if err != nil || !slices.Contains(points, point) {
			return err
		}
		if err := unix.Unmount(point, flags); err != nil {
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
}

// abort ends the connection behind the FUSE mount on point, if there is one:
// whoever waits for it in the kernel comes back. That can be the very process
// that served it, which was killed and cannot end. A forced unmount does so first,
// also when it then fails because the mount is busy (umount2(2), MNT_FORCE).
func abort(point string) error {
	points, err := mountPoints()
	if err != nil || !slices.Contains(points, point) {
		return err
	}
	if err := unix.Unmount(point, unix.MNT_FORCE); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("unmounting %s: %w", point, err)
	}
	return nil
}
