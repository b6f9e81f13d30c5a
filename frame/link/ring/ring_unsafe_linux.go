package ring

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// headerAt is the header of the slot at offset off of the ring. The offset is a
// multiple of 16, so the header is aligned.
func headerAt(mem []byte, off int) *unix.Tpacket2Hdr {
	_ = mem[off+int(unsafe.Sizeof(unix.Tpacket2Hdr{}))-1]
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&mem[off]))
}

func nativeUint16(b [2]byte) uint16 { return binary.NativeEndian.Uint16(b[:]) }

// kernelDrops is tp_drops of PACKET_STATISTICS, which reading resets to zero.
// The same call of x/sys allocates its result.
func kernelDrops(fd int) (uint32, error) {
	var stats unix.TpacketStats
	size := uint32(unsafe.Sizeof(stats))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS,
		uintptr(unsafe.Pointer(&stats)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return stats.Drops, nil
}
