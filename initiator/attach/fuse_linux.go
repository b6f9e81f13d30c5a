package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A fuseDevice is a mounted file system with one file, and the loop device
// that shows it. Everything in it is undone in the reverse order in which it
// was made; what is undone is nil.
type fuseDevice struct {
	disk Disk
	info Info
	fs   *fileSystem

	madeDir bool     // dir was not there before
	lock    *os.File // dir, locked: it is ours as long as this is open
	dir     string
	point   string       // where the file system is mounted, in dir
	server  *fuse.Server // serves it
	loop    *loop
	done    chan struct{} // closed when the server has ended

	mu        sync.Mutex
	detaching <-chan error // the outcome of a detach that is under way
}

func attachFUSE(ctx context.Context, cfg FUSEConfig, info Info) (*Device, error) {
	if err := refuseLeft(info, "fuse"); err != nil {
		return nil, err
	}
	d := &fuseDevice{disk: cfg.Disk, info: info, dir: cfg.Dir, point: filepath.Join(cfg.Dir, "mnt"), done: make(chan struct{})}
	for _, step := range []func() error{
		d.claim,
		func() error { return cleanStale(ctx, d.point) },
		func() error { return d.mount(cfg.InFlight) },
		func() error { return d.attach(ctx) },
	} {
		err := ctx.Err()
		if err == nil {
			err = step()
		}
		if err != nil {
			return nil, errors.Join(err, d.close(context.WithoutCancel(ctx)))
		}
	}
	return &Device{Path: d.loop.path, impl: d}, nil
}

// claim makes the directory and locks it. A lock of flock(2) ends with the
// process, so who has it knows that whatever else is there was left by a dead
// one.
func (d *fuseDevice) claim() error {
	if err := os.MkdirAll(filepath.Dir(d.dir), 0o755); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	switch err := os.Mkdir(d.dir, 0o700); {
	case err == nil:
		d.madeDir = true
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("attach: %w", err)
	}
	lock, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		d.madeDir = false
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w (%s)", ErrAttached, d.dir)
		}
		return fmt.Errorf("attach: locking %s: %w", d.dir, err)
	}
	d.lock = lock
	return nil
}

// mount mounts the file system and serves it.
func (d *fuseDevice) mount(inFlight int) error {
	if err := os.Mkdir(d.point, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("attach: %w", err)
	}
	d.fs = newFileSystem(d.disk, d.info)
	server, err := fuse.NewServer(d.fs, d.point, &fuse.MountOptions{
		FsName: d.info.Name, Name: "aoe", // shown in the list of mounts
		DirectMountStrict: true, // mount(2), no helper program
		// Without it one request is in flight at a time: 865 of them a second
		// at 1 ms each instead of 13,050.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		MaxBackground:     inFlight,
		// A request of the kernel is one operation of the disk: parts of a read
		// would have to wait for each other while they hold the disk's memory.
		MaxWrite:           min(1<<20, d.info.MaxRequest) / fuseBlock * fuseBlock,
		DisableXAttrs:      true, // the kernel would ask for one before each write
		DisableSplice:      true, // the data is not in a file
		DisableReadDirPlus: true, // one request more does not matter
		Logger:             log.New(io.Discard, "", 0),
	})
	if err != nil {
		return fmt.Errorf("attach: mounting on %s: %w: needs root and FUSE (modprobe fuse)", d.point, err)
	}
	d.server = server
	go func() {
		server.Serve()
		close(d.done)
	}()
	if err := keepToOurselves(); err != nil {
		return fmt.Errorf("attach: closing /dev/fuse to children: %w", err)
	}
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("attach: mounting on %s: %w", d.point, err)
	}
	if server.KernelSettings().Flags64()&fuse.CAP_ASYNC_DIO == 0 {
		return errors.New("attach: this kernel's FUSE has no asynchronous direct I/O: use the NBD socket")
	}
	return nil
}

// attach lets a loop device show the file.
func (d *fuseDevice) attach(ctx context.Context) error {
	flags := unix.O_RDWR
	if d.info.ReadOnly {
		flags = unix.O_RDONLY
	}
	path := filepath.Join(d.point, diskFile)
	// Not os.OpenFile, which would try to poll the file.
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("attach: opening %s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close() // the loop device has its own reference
	if d.loop, err = attachLoop(ctx, file, d.info); err != nil {
		return err
	}
	size, err := d.loop.size()
	if err == nil && size != d.disk.Size() {
		err = fmt.Errorf("attach: %s has %d bytes, not %d", d.loop.path, size, d.disk.Size())
	}
	return err
}

// close undoes everything. The order is given by who keeps whom busy.
//
// To detach may mean to write back what is in the device's page cache, through
// this very process. If the disk does not answer, that thread waits in the
// kernel and no signal ends it: ctx ends the waiting for it, and abandon what
// it waits for.
func (d *fuseDevice) close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	// The loop device first: it has the file open, and as long as it is in use
	// nothing may end.
	if d.loop != nil {
		if err := d.detach(ctx); err != nil {
			return err
		}
		d.loop = nil
	}
	// Then the mount. The kernel closes the loop device's file a moment after
	// the device is gone.
	if d.server != nil {
		if err := d.unmount(ctx); err != nil {
			return err
		}
		d.server = nil
	}
	return d.clearAway()
}

// detach detaches the loop device on a goroutine that can be left behind, and
// comes back to it when called again.
func (d *fuseDevice) detach(ctx context.Context) error {
	if d.detaching == nil {
		ended := make(chan error, 1)
		l := d.loop
		go func() { ended <- l.detach() }()
		d.detaching = ended
	}
	select {
	case err := <-d.detaching:
		d.detaching = nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("attach: the disk has not taken everything that was written to %s: %w", d.loop.path, ctx.Err())
	}
}

func (d *fuseDevice) unmount(ctx context.Context) error {
	var err error
	if until(ctx, func() bool {
		err = unix.Unmount(d.point, 0)
		return !errors.Is(err, unix.EBUSY)
	}) != nil {
		return fmt.Errorf("attach: %s is busy: a process has its directory or its file open: %w", d.point, ctx.Err())
	}
	// EINVAL: "target is not a mount point": somebody else unmounted it.
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("attach: unmounting %s: %w", d.point, err)
	}
	d.fs.quit()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("attach: the disk has not finished what was in flight: %w", ctx.Err())
	}
}

// clearAway removes the directories, and gives the lock up last: until then
// nobody else begins.
func (d *fuseDevice) clearAway() error {
	if d.lock == nil {
		return nil
	}
	var errs []error
	remove := func(path string) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("attach: %w", err))
		}
	}
	remove(d.point)
	if d.madeDir {
		remove(d.dir)
	}
	d.lock.Close()
	d.lock = nil
	return errors.Join(errs...)
}

// abandon undoes everything without asking.
func (d *fuseDevice) abandon(ctx context.Context) error {
	// Requests that wait, and all that will come, fail: whoever waits for them
	// in the kernel comes back, a close that is under way too.
	d.fs.quit()
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	if d.detaching != nil {
		if <-d.detaching == nil {
			d.loop = nil
		}
		d.detaching = nil
	}
	if d.loop != nil {
		errs = append(errs, d.loop.drop())
	}
	if d.server != nil {
		if err := unix.Unmount(d.point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("attach: unmounting %s: %w", d.point, err))
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("attach: what uses %s has not let go of it: %w", d.point, ctx.Err()))
		}
	}
	d.loop, d.server = nil, nil
	return errors.Join(append(errs, d.clearAway())...)
}

// resize follows the disk.
func (d *fuseDevice) resize() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loop == nil {
		return fmt.Errorf("attach: the device was detached: %w", os.ErrClosed)
	}
	now := d.disk.Size()
	before, err := d.loop.size()
	if err != nil {
		return err
	}
	if now < before {
		return fmt.Errorf("attach: the disk shrank from %d to %d bytes: %s keeps its size, and what is beyond fails", before, now, d.loop.path)
	}
	// The kernel takes the size from the file's inode, which it has to be made
	// to look at first.
	if _, err := os.Stat(filepath.Join(d.point, diskFile)); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if err := unix.IoctlSetInt(int(d.loop.file.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("attach: LOOP_SET_CAPACITY of %s: %w", d.loop.path, err)
	}
	after, err := d.loop.size()
	if err == nil && after != now {
		err = fmt.Errorf("attach: %s has %d bytes after resizing, not %d", d.loop.path, after, now)
	}
	return err
}
