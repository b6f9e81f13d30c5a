package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"aoe/cmd/internal/scratch"
)

// sweep removes what labs left in parent that were killed: their namespaces went
// with them, their images and mounts did not.
func sweep(ctx context.Context, parent string) error {
	err := scratch.Sweep(parent, dirPattern, func(dir string) error { return sweepDir(ctx, dir) })
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
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
