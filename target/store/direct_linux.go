package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directFlag is open's for direct I/O.
const directFlag = unix.O_DIRECT

// refusesDirect reports whether err is what open says when there is no direct
// I/O: "EINVAL The filesystem does not support the O_DIRECT flag" (open(2)).
func refusesDirect(err error) bool { return errors.Is(err, unix.EINVAL) }

// address is where p is in memory.
func address(p []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p))) }

// alignment is what direct I/O on the file asks of memory, and of offsets and
// lengths.
//
// "STATX_DIOALIGN: stx_dio_mem_align: the alignment (in bytes) required for user
// memory buffers for direct I/O on this file, or 0 if direct I/O is not
// supported on this file" (statx(2)). Linux tells since 6.1, and not of every
// file system; where it does not, the device's logical block is what it takes.
func (s *file) alignment() (memory, block int64, err error) {
	var x unix.Statx_t
	if unix.Statx(s.fd(), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &x) == nil && x.Mask&unix.STATX_DIOALIGN != 0 {
		if x.Dio_mem_align == 0 || x.Dio_offset_align == 0 {
			return 0, 0, fmt.Errorf("%s: %w", s.cfg.Path, errNoDirect)
		}
		return int64(x.Dio_mem_align), int64(x.Dio_offset_align), nil
	}
	block = s.logicalBlock()
	return block, block, nil
}

// logicalBlock is that of the device, or of the device that a file is on; a page
// if there is none to ask.
func (s *file) logicalBlock() int64 {
	if s.device {
		var size uint32
		if ioctl(s.fd(), unix.BLKSSZGET, unsafe.Pointer(&size)) == nil && size > 0 {
			return int64(size)
		}
	}
	var st unix.Stat_t
	if unix.Fstat(s.fd(), &st) == nil {
		n, err := strconv.ParseInt(sysAttr(sysBlock(uint64(st.Dev)), "queue/logical_block_size"), 10, 64)
		if err == nil && n > 0 {
			return n
		}
	}
	return int64(os.Getpagesize())
}
