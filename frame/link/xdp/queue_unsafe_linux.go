package xdp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// registerMemory is XDP_UMEM_REG.
func registerMemory(fd int, mem []byte, chunk int) error {
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))), Len: uint64(len(mem)), Size: uint32(chunk)}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// makeRings gives the socket its rings and maps them. The completion ring is
// never used, but a socket without one cannot be bound.
func (q *queue) makeRings() error {
	n := q.shape.entries()
	for _, r := range []struct{ option, entries int }{
		{unix.XDP_UMEM_FILL_RING, n}, {unix.XDP_RX_RING, n}, {unix.XDP_UMEM_COMPLETION_RING, 2},
	} {
		if err := unix.SetsockoptInt(q.fd, unix.SOL_XDP, r.option, r.entries); err != nil {
			return fmt.Errorf("ring %d of %d entries: %w", r.option, r.entries, err)
		}
	}
	var off unix.XDPMmapOffsets
	size := uint32(unsafe.Sizeof(off))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(q.fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&off)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || uintptr(size) != unsafe.Sizeof(off) {
		return fmt.Errorf("XDP_MMAP_OFFSETS: %d bytes: %w", size, errno)
	}
	fill, err := q.mapRing(unix.XDP_UMEM_PGOFF_FILL_RING, int(off.Fr.Desc)+n*int(unsafe.Sizeof(uint64(0))))
	if err != nil {
		return err
	}
	q.fill.index = indexAt(fill, off.Fr, n)
	q.fill.addrs = unsafe.Slice((*uint64)(unsafe.Pointer(&fill[off.Fr.Desc])), n)
	rx, err := q.mapRing(unix.XDP_PGOFF_RX_RING, int(off.Rx.Desc)+n*int(unsafe.Sizeof(unix.XDPDesc{})))
	if err != nil {
		return err
	}
	q.rx.index = indexAt(rx, off.Rx, n)
	q.rx.descs = unsafe.Slice((*unix.XDPDesc)(unsafe.Pointer(&rx[off.Rx.Desc])), n)
	return nil
}

func (q *queue) mapRing(offset int64, size int) ([]byte, error) {
	m, err := unix.Mmap(q.fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mapping a ring: %w", err)
	}
	q.maps = append(q.maps, m)
	return m, nil
}

func indexAt(ring []byte, off unix.XDPRingOffset, entries int) index {
	return index{
		producer: (*uint32)(unsafe.Pointer(&ring[off.Producer])),
		consumer: (*uint32)(unsafe.Pointer(&ring[off.Consumer])),
		mask:     uint32(entries - 1),
	}
}

// kernelDrops is how many frames the kernel had no chunk or no room in the receive
// ring for (XDP_STATISTICS), since the socket was made.
func kernelDrops(fd int) (uint64, error) {
	var stats unix.XDPStatistics
	size := uint32(unsafe.Sizeof(stats))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_STATISTICS,
		uintptr(unsafe.Pointer(&stats)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return stats.Rx_dropped + stats.Rx_ring_full, nil
}
