package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// describe fills in what the kernel tells about the file.
func (s *file) describe() error {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd(), &st); err != nil {
		return err
	}
	if s.device {
		s.describeDevice(sysBlock(uint64(st.Rdev)))
		s.info.Cache = pageCache(uint64(st.Rdev))
	} else if err := s.describeRegular(&st); err != nil {
		return err
	}
	if s.cfg.Offset > 0 && s.info.Identity != "" {
		// Two windows of one file are two disks; the length is left out, so
		// that a disk that grows remains the same one.
		s.info.Identity += fmt.Sprintf("+%d", s.cfg.Offset)
	}
	return nil
}

func (s *file) describeRegular(st *unix.Stat_t) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(s.fd(), &fs); err != nil {
		return err
	}
	if fs.Type == unix.TMPFS_MAGIC {
		s.prompt = inMemory
		s.info.Volatile = true
	}
	// A FUSE server may go, and come back without what it was given and not told
	// to sync, while our kernel stays.
	if fs.Type != unix.FUSE_SUPER_MAGIC {
		s.info.Cache = pageCache(uint64(st.Dev))
	}
	s.info.Trim = !s.cfg.ReadOnly
	// "After a successful call, subsequent reads from this range will return
	// zeros" (fallocate(2)). Block devices promise nothing.
	s.info.TrimZeroes = s.info.Trim
	// A file system writes whole blocks of its own: a smaller write costs a
	// read. More than a page would tell the reader nothing true.
	s.info.PhysicalBlock = physical(int(st.Blksize), unix.Getpagesize())
	s.info.Rotational = sysFlag(sysBlock(uint64(st.Dev)), "queue/rotational")

	// The file system's identity, the inode, and the time of its birth, which
	// tells a new file from an old one whose inode it got. ext4 and btrfs
	// derive f_fsid from the UUID; others, XFS among them, from the device
	// number, which may change with the order in which disks are found.
	var x unix.Statx_t
	birth := unix.StatxTimestamp{}
	if unix.Statx(s.fd(), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &x) == nil && x.Mask&unix.STATX_BTIME != 0 {
		birth = x.Btime
	}
	s.info.Identity = fmt.Sprintf("file %08x%08x %d %d.%09d",
		uint32(fs.Fsid.Val[0]), uint32(fs.Fsid.Val[1]), st.Ino, birth.Sec, birth.Nsec)
	return nil
}

func (s *file) describeDevice(sys string) {
	var size uint32
	if ioctl(s.fd(), unix.BLKPBSZGET, unsafe.Pointer(&size)) == nil {
		s.info.PhysicalBlock = physical(int(size), 64<<10)
	}
	s.info.Rotational = sysFlag(sys, "queue/rotational")
	s.info.Trim = !s.cfg.ReadOnly && sysFlag(sys, "queue/discard_max_bytes")
	s.info.Identity = deviceIdentity(sys)
}

// pageCache names the page cache of the block device dev, or of a file system there.
// It is lost when the machine is started anew, and when the device is taken away:
// diskseq is a number that no other device has until then, so that what was
// plugged in again is told from what was there (Linux 5.15; empty before, and where
// there is no device). Empty if it is not known when the machine was started.
func pageCache(dev uint64) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return "boot " + strings.TrimSpace(string(boot)) + " disk " + sysAttr(sysBlock(dev), "diskseq")
}

// physical limits size to a power of two from a sector to most.
func physical(size, most int) int {
	if size <= SectorSize || size&(size-1) != 0 {
		return SectorSize
	}
	return min(size, most)
}

// sysBlock is where sysfs describes the block device dev.
func sysBlock(dev uint64) string {
	return fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
}

// sysAttr reads an attribute of a device, of the whole disk if the partition
// has none. Empty means that there is none.
func sysAttr(sys, name string) string {
	for _, dir := range []string{sys, sys + "/.."} {
		b, err := os.ReadFile(filepath.Clean(sysResolve(dir)) + "/" + name)
		if err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

// sysResolve follows the links of sysfs, so that ".." leads to the whole disk.
func sysResolve(dir string) string {
	if r, err := filepath.EvalSymlinks(dir); err == nil {
		return r
	}
	return dir
}

func sysFlag(sys, name string) bool {
	v := sysAttr(sys, name)
	return v != "" && v != "0"
}

// deviceIdentity is the first name the device has that is its own and not that
// of the place where it was found. A loop device is its file.
func deviceIdentity(sys string) string {
	partition := sysAttr(sys, "partition")
	for _, name := range []string{"wwid", "device/wwid", "dm/uuid", "md/uuid", "serial", "device/serial", "loop/backing_file"} {
		if v := sysAttr(sys, name); v != "" {
			return "device " + name + " " + v + " " + partition
		}
	}
	return ""
}
