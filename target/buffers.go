package target

import "aoe/frame"

// pageSize is what buffers are aligned to.
const pageSize = 4096

// dataOffset is where in a page the data of a frame starts. It decides how fast
// the kernel copies. A copy is several times slower when its destination lies a
// few bytes ahead of its source, counted within a page, because each load then
// seems to depend on the store just before it. The kernel copies twice for a
// read: from the beginning of a page of the page cache to the data, and, when it
// sends, from behind the Ethernet header, 22 bytes before the data, to the
// beginning of a page. Half a page is far from trouble in both. Measured on an
// AMD EPYC, pread and pwrite of 8 KiB with the buffer at an offset in its page:
//
//	offset    0     14     36   2026   2048   4074
//	pread   1.0    6.3    1.6    1.0    1.0    1.0 µs
//	pwrite  1.4    1.4    1.9    1.2    1.3    4.8 µs
//
// With the data at the beginning of a page, sequential reads cost half as much
// again. Half a page is also a multiple of a sector, as direct I/O will want.
const dataOffset = pageSize / 2

// newBuffers reserves n buffers for frames of up to mtu, as one slab, which the
// runtime starts on a page boundary at this size; if it did not, that would cost
// time and nothing else. Pages that are never used take no memory.
func newBuffers(n, mtu int) [][]byte {
	stride := (mtu + frame.EthernetLen + pageSize - 1) / pageSize * pageSize
	slab := make([]byte, pageSize+n*stride)
	bufs := make([][]byte, n)
	for i := range bufs {
		from := dataOffset - frame.ATADataOffset + i*stride
		bufs[i] = slab[from : from+stride : from+stride]
	}
	return bufs
}

// full is a buffer at its full length, whatever frame is in it.
func full(b []byte) []byte { return b[:cap(b)] }
