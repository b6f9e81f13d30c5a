package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"aoe/cmd/internal/orphan"
	"aoe/cmd/internal/scratch"
	"aoe/initiator/attach"
)

// guestPattern is the name of the directory of a machine of aoe lab guest, and
// guestPlace where such directories are by default.
const (
	guestPattern = "aoe-guest-*"
	guestPlace   = "/dev/shm"
)

// sweep removes what labs left in parent that were killed. That strangers are in
// a dead lab's namespaces does not keep another from being made.
func sweep(ctx context.Context, parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, dirPattern))
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		left, err := cleanDir(ctx, dir, false)
		if err != nil {
			errs = append(errs, fmt.Errorf("lab: %w", err))
		}
		if i := slices.IndexFunc(left.Kept, func(i Item) bool { return i.What != inside.what && i.What != "directory" }); i >= 0 {
			errs = append(errs, fmt.Errorf("lab: %s %s, which a lab that was killed left, is still there: %s", left.Kept[i].What, left.Kept[i].Name, left.Why))
		}
	}
	return errors.Join(errs...)
}

func clean(ctx context.Context, cfg CleanConfig) ([]Leftover, error) {
	place, err := scratchPlace(cfg.Dir)
	if err != nil {
		return nil, err
	}
	places := []string{place}
	if cfg.Dir == "" {
		places = append(places, guestPlace)
	}
	var dirs []string
	for _, place := range places {
		for _, pattern := range []string{dirPattern, guestPattern} {
			found, err := filepath.Glob(filepath.Join(place, pattern))
			if err != nil {
				return nil, fmt.Errorf("lab: %w", err)
			}
			dirs = append(dirs, found...)
		}
	}
	marked, err := orphan.Dirs()
	if err != nil {
		return nil, err
	}
	mounted, err := mountPoints()
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Concat(marked, mounted) {
		dir, ok := labDir(path)
		if ok && (cfg.Dir == "" || filepath.Dir(dir) == place) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	var all []Leftover
	var errs []error
	for _, dir := range slices.Compact(dirs) {
		left, err := cleanDir(ctx, dir, cfg.DryRun)
		errs = append(errs, err)
		if left.Dir != "" {
			all = append(all, left)
		}
	}
	return all, errors.Join(errs...)
}

// labDir is the lab's directory that path is or is in.
func labDir(path string) (string, bool) {
	for dir := filepath.Clean(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		for _, pattern := range []string{dirPattern, guestPattern} {
			if ok, _ := filepath.Match(pattern, filepath.Base(dir)); ok {
				return dir, true
			}
		}
	}
	return "", false
}

// Patience while a dead lab is cleaned away.
const (
	orphanGrace  = 5 * time.Second  // for processes that were asked to end
	orphanKilled = 20 * time.Second // for all of it
	clearTimeout = 10 * time.Second // for the kernel to let go of a device
)

// A leaver is who can leave block devices in the kernel, and end them: package
// attach, but in tests. Both are about the disk of that name and serial number.
type leaver struct {
	devices func(name, serial string) ([]string, error)
	end     func(name, serial string) error
}

// cleanDir removes what the lab of dir left, if that is dead. The Leftover has no
// Dir if dir is none of ours.
func cleanDir(ctx context.Context, dir string, dryRun bool) (Leftover, error) {
	return leaver{attach.LeftDevices, attach.EndDevices}.cleanDir(ctx, dir, dryRun)
}

func (k leaver) cleanDir(ctx context.Context, dir string, dryRun bool) (left Leftover, err error) {
	lock, err := scratch.Claim(dir)
	alive := errors.Is(err, scratch.ErrAlive)
	switch {
	case alive:
	case errors.Is(err, scratch.ErrNotOurs), errors.Is(err, os.ErrNotExist):
		return Leftover{}, nil
	case err != nil:
		return Leftover{}, err
	}
	d := dead{dir: dir, serial: serialIn(dir), lock: lock, leaver: k}
	defer func() {
		if d.lock != nil {
			err = errors.Join(err, d.lock.Close())
		}
	}()
	if d.owner, _, err = readOwner(dir); err != nil {
		return Leftover{}, err
	}
	left = Leftover{Dir: dir, PID: d.owner.PID}
	// One that is dying holds the lock until it lets go of a device: see abort.
	if alive && !d.owner.Dying() {
		left.Living = true
		return left, nil
	}
	before, err := d.inventory()
	if err != nil {
		return left, err
	}
	if dryRun {
		for _, i := range before {
			if i.What == inside.what {
				left.Kept, left.Why = append(left.Kept, i), inside.why
			} else {
				left.Removed = append(left.Removed, i)
			}
		}
		return left, nil
	}
	why := d.remove(ctx)
	if left.Kept, err = d.inventory(); err != nil {
		return left, err
	}
	if len(left.Kept) > 0 && why == nil {
		why = errors.New(inside.why)
	}
	if why != nil {
		left.Why = why.Error()
	}
	for _, i := range before {
		if !slices.Contains(left.Kept, i) {
			left.Removed = append(left.Removed, i)
		}
	}
	return left, nil
}

// inside is what a process is called that is in a lab's namespace and was
// perhaps not started by it.
var inside = struct{ what, why string }{
	"other process in its network",
	"it is in the lab's network namespace, but nothing shows that the lab started it: end it, and try again",
}

// A dead lab.
type dead struct {
	dir    string
	serial string // of its disk
	owner  owner
	lock   io.Closer // nil while the lab is dying
	leaver leaver
}

// orphans are the processes that the lab started, others that are in its
// namespaces, and which of these there still are.
func (d *dead) orphans() (own, others []orphan.Process, namespaces []uint64, err error) {
	own, err = orphan.Find(d.dir)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil || len(d.owner.Namespaces) == 0 {
		return own, nil, nil, err
	}
	within, err := orphan.Within(d.owner.Namespaces)
	for n, all := range within {
		namespaces = append(namespaces, n)
		for _, p := range all {
			switch {
			case slices.Contains(own, p):
			case p.Group == d.owner.Group:
				own = append(own, p)
			default:
				others = append(others, p)
			}
		}
	}
	slices.Sort(namespaces)
	return own, others, namespaces, err
}

// inventory is what there is of the lab now.
func (d *dead) inventory() (all []Item, err error) {
	own, others, namespaces, err := d.orphans()
	if err != nil {
		return nil, err
	}
	for _, p := range own {
		all = append(all, Item{"process", p.String()})
	}
	for _, p := range others {
		all = append(all, Item{inside.what, p.String()})
	}
	for _, n := range namespaces {
		all = append(all, Item{"network namespace", fmt.Sprint(n)})
	}
	points, err := mountsIn(d.dir)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		all = append(all, Item{"mount", p})
	}
	loops, err := loopsIn("/", d.dir)
	if err != nil {
		return nil, err
	}
	for _, l := range loops {
		all = append(all, Item{"loop device", l})
	}
	devices, err := d.leaver.devices(Addr.String(), d.serial)
	if err != nil {
		return nil, err
	}
	for _, b := range devices {
		all = append(all, Item{"block device", b})
	}
	if _, err := os.Lstat(d.dir); err == nil {
		all = append(all, Item{"directory", d.dir})
	}
	return all, nil
}

// loopsIn are the loop devices that show a file in dir, on the machine whose
// system is at root: "/", but in tests.
func loopsIn(root, dir string) (devices []string, err error) {
	shown, err := filepath.Glob(filepath.Join(root, "sys/block/loop*/loop/backing_file"))
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	for _, l := range shown {
		// One that is detached in this moment has none.
		if file, err := os.ReadFile(l); err == nil && strings.HasPrefix(string(file), dir+"/") {
			devices = append(devices, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(l))))
		}
	}
	return devices, nil
}

// remove removes it: first who uses the disk, then what shows it, then the
// directory.
func (d *dead) remove(ctx context.Context) error {
	attached := filepath.Join(d.dir, "run", Addr.String())
	if err := abort(filepath.Join(attached, "mnt")); err != nil {
		return err
	}
	// Devices of ublk and NBD wait for a process to take them over, and whoever uses
	// them waits in the kernel, unmounting too: they end first.
	if err := d.leaver.end(Addr.String(), d.serial); err != nil {
		return err
	}
	own, others, _, err := d.orphans()
	if err != nil {
		return err
	}
	ending, cancel := context.WithTimeout(ctx, orphanKilled)
	defer cancel()
	if stuck, err := orphan.End(ending, own, orphanGrace); err != nil || len(stuck) > 0 {
		return errors.Join(err, fmt.Errorf("%d processes were killed and have not ended: they wait in the kernel: try again", len(stuck)))
	}
	// The file system on the dead disk can only be detached, not written out.
	if err := unmountAll(filepath.Join(d.dir, "mnt"), unix.MNT_DETACH); err != nil {
		return err
	}
	clearing, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	if err := attach.ClearStale(clearing, attached); err != nil {
		return err
	}
	if err := d.waitForDevices(clearing); err != nil {
		return err
	}
	if err := d.waitForLock(clearing); err != nil {
		return err
	}
	if len(others) > 0 {
		return nil // the directory says whose namespaces they are in
	}
	// Once more: RemoveAll must not get into a mount.
	switch points, err := mountsIn(d.dir); {
	case err != nil:
		return err
	case len(points) > 0:
		return errors.New("something is mounted in it: unmount it")
	}
	return os.RemoveAll(d.dir)
}

// waitForDevices waits until the kernel has let go of block devices that ended.
func (d *dead) waitForDevices(ctx context.Context) error {
	for {
		left, err := d.leaver.devices(Addr.String(), d.serial)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is dead, and stays until all who have it open close it: end them, and try again", left[0])
		}
	}
}

// waitForLock waits for the end of a lab that was dying.
func (d *dead) waitForLock(ctx context.Context) (err error) {
	for d.lock == nil {
		if d.lock, err = scratch.Claim(d.dir); err == nil {
			return nil
		}
		if !errors.Is(err, scratch.ErrAlive) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("process %s was killed and has not ended: try again", d.owner)
		}
	}
	return nil
}
