package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"aoe/cmd/internal/orphan"
)

// tools are the programs that the newcomer's run needs, and who brings them.
var tools = []struct{ name, pkg string }{
	{"mkfs.ext4", "e2fsprogs"},
	{"e2fsck", "e2fsprogs"},
	{"mount", "mount (util-linux)"},
	{"umount", "mount (util-linux)"},
}

// checkTools says what is missing, all of it at once.
func checkTools() error {
	var errs []error
	for _, t := range tools {
		if _, err := findTool(t.name); err != nil {
			errs = append(errs, fmt.Errorf("lab: needs %s: install the package %s", t.name, t.pkg))
		}
	}
	return errors.Join(errs...)
}

// findTool looks beyond $PATH, which often lacks the system's own programs.
func findTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("lab: %s: %w", name, exec.ErrNotFound)
}

// tool runs one of the tools; its output is part of the error only.
func (l *Lab) tool(ctx context.Context, name string, args ...string) error {
	path, err := findTool(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), orphan.Mark(l.dir))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("lab: %s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Mount mounts the device for as long as it is not unmounted; Close unmounts it
// otherwise. Not mount(2): see WorkerName.
func (l *Lab) Mount(ctx context.Context, options string) (dir string, err error) {
	dir = filepath.Join(l.dir, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("lab: %w", err)
	}
	l.cleanup.push("the mount point", func(ctx context.Context) error {
		if err := l.Unmount(ctx); err != nil {
			return err
		}
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	return dir, l.tool(ctx, "mount", "-t", "ext4", "-o", options, l.Device(), dir)
}

// unmountPatience is for programs that look at every new mount, as desktops have
// them.
const unmountPatience = 5 * time.Second

// Unmount unmounts what Mount mounted, and returns when everything written is
// at the target. Unmounting twice is no error.
func (l *Lab) Unmount(ctx context.Context) error {
	dir := filepath.Join(l.dir, "mnt")
	for end := time.Now().Add(unmountPatience); ; {
		mounted, err := isMounted(dir)
		if err != nil || !mounted {
			return err
		}
		err = l.tool(ctx, "umount", dir)
		if err != nil && (ctx.Err() != nil || time.Now().After(end)) {
			return err
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// isMounted looks into the kernel's list: a mount(8) that was interrupted may
// have got there or not.
func isMounted(dir string) (bool, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false, fmt.Errorf("lab: %w", err)
	}
	// "The characters space, tab, newline and backslash are octally escaped"
	// (fstab(5)).
	escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(dir)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == escaped {
			return true, nil
		}
	}
	return false, nil
}
