package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A loop is a loop device that shows a file (loop(4)).
type loop struct {
	path string // "/dev/loop7"
	// file keeps the device open: with LO_FLAGS_AUTOCLEAR it is detached when
	// the last one closes it, this process too if it dies. Opened for reading
	// only, because kernels that protect mounted devices refuse to mount what
	// somebody could write to.
	file *os.File
}

func (l *loop) name() string { return strings.TrimPrefix(l.path, "/dev/") }

// sys is a file of the device in sysfs.
func (l *loop) sys(elem ...string) string {
	return filepath.Join(append([]string{"/sys/block", l.name()}, elem...)...)
}

// attachLoop makes a loop device show the file, with direct I/O: with the page
// cache of the file in between, every byte would be in memory twice, and
// writing it back could need memory that is not there.
func attachLoop(ctx context.Context, file *os.File, info Info) (*loop, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("attach: %w: needs root and the loop driver (modprobe loop)", err)
	}
	defer control.Close()
	for {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("attach: LOOP_CTL_GET_FREE: %w: needs CAP_SYS_ADMIN: run as root", err)
		}
		l, err := configureLoop("/dev/loop"+strconv.Itoa(number), file, info)
		// "EBUSY: the loop device is in use": somebody else was faster.
		if !errors.Is(err, unix.EBUSY) {
			return l, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("attach: %w while looking for a free loop device", err)
		}
	}
}

func configureLoop(path string, file *os.File, info Info) (*loop, error) {
	// A loop device that is opened for reading only when it is configured
	// becomes a read-only one.
	dev, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("attach: %w: needs root, and a /dev with loop devices in it", err)
	}
	defer dev.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: uint32(info.BlockSize)}
	config.Info.Flags = unix.LO_FLAGS_DIRECT_IO | unix.LO_FLAGS_AUTOCLEAR
	if info.ReadOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file.Name())
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), &config); err != nil {
		return nil, fmt.Errorf("attach: LOOP_CONFIGURE of %s: %w", path, err)
	}
	l := &loop{path: path}
	if l.file, err = os.Open(path); err == nil {
		err = l.verify(info)
	} else {
		err = fmt.Errorf("attach: %w", err)
	}
	if err != nil {
		unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0)
		if l.file != nil {
			l.file.Close()
		}
		return nil, err
	}
	return l, nil
}

// verify reads back what the kernel made of the configuration. It drops
// LO_FLAGS_DIRECT_IO in silence when the file does not allow it.
func (l *loop) verify(info Info) error {
	status, err := unix.IoctlLoopGetStatus64(int(l.file.Fd()))
	if err != nil {
		return fmt.Errorf("attach: LOOP_GET_STATUS64 of %s: %w", l.path, err)
	}
	switch {
	case status.Flags&unix.LO_FLAGS_DIRECT_IO == 0:
		return fmt.Errorf("attach: the kernel refused direct I/O for %s", l.path)
	case status.Flags&unix.LO_FLAGS_AUTOCLEAR == 0:
		return fmt.Errorf("attach: the kernel refused autoclear for %s", l.path)
	case (status.Flags&unix.LO_FLAGS_READ_ONLY != 0) != info.ReadOnly:
		return fmt.Errorf("attach: %s: read-only is %v, not %v", l.path, !info.ReadOnly, info.ReadOnly)
	}
	block, err := unix.IoctlGetInt(int(l.file.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("attach: BLKSSZGET of %s: %w", l.path, err)
	}
	if block != info.BlockSize {
		return fmt.Errorf("attach: %s has blocks of %d bytes, not of %d", l.path, block, info.BlockSize)
	}
	return nil
}

// size is the device's size in bytes.
func (l *loop) size() (int64, error) {
	text, err := os.ReadFile(l.sys("size"))
	if err != nil {
		return 0, fmt.Errorf("attach: %w", err)
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return sectors * SectorSize, err
}

// detach flushes the device and detaches it, and returns when it is gone. It
// returns an *InUseError, and the device is as it was, when somebody uses it.
func (l *loop) detach() error {
	claim, err := claimDevice(l.path)
	if err != nil {
		return err
	}
	// What programs wrote through the page cache goes to the disk now, when an
	// error can still be told.
	err = claim.Sync()
	if err != nil {
		claim.Close()
		return fmt.Errorf("attach: writing back %s: %w", l.path, err)
	}
	l.file.Close()
	claim.Close()
	// Programs that merely have it open keep it attached: the last one to
	// close it detaches it.
	ctx, cancel := context.WithTimeout(context.Background(), detachPatience)
	defer cancel()
	if until(ctx, func() bool { return !l.attached() }) == nil {
		return nil
	}
	by := usersOf(l.path)
	if l.file, err = os.Open(l.path); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return &InUseError{Device: l.path, By: by}
}

// drop detaches the device as soon as everybody has closed it.
func (l *loop) drop() error {
	err := unix.IoctlSetInt(int(l.file.Fd()), unix.LOOP_CLR_FD, 0)
	l.file.Close()
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("attach: LOOP_CLR_FD of %s: %w", l.path, err)
	}
	return nil
}

// attached reports whether the device shows a file. To ask the device itself
// would open it.
func (l *loop) attached() bool {
	_, err := os.Stat(l.sys("loop", "backing_file"))
	return !errors.Is(err, fs.ErrNotExist)
}

// backingLoops are the loop devices that show the file, by its name.
func backingLoops(file string) []*loop {
	all, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var found []*loop
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(text)) == file {
			found = append(found, &loop{path: "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(path)))})
		}
	}
	return found
}
