package target

import "aoe/frame"

// pageSize is what buffers are aligned to, behind the headers.
const pageSize = 4096

// newBuffers reserves n buffers for frames of up to mtu, as one slab. The data of
// each starts on a page boundary as far as the slab does, which the runtime makes
// so for slabs of this size: copies from the page cache are fastest that way,
// and direct I/O will ask for it. Pages that are never used cost nothing.
//
//	|...............HDR|data data data ... HDR|data data data ... HDR|
//	0               4060 4096              16348 16384
func newBuffers(n, mtu int) [][]byte {
	stride := (mtu + frame.EthernetLen + pageSize - 1) / pageSize * pageSize
	slab := make([]byte, pageSize+n*stride)
	bufs := make([][]byte, n)
	for i := range bufs {
		from := pageSize - frame.ATADataOffset + i*stride
		bufs[i] = slab[from : from+stride : from+stride]
	}
	return bufs
}

// full is a buffer at its full length, whatever frame is in it.
func full(b []byte) []byte { return b[:cap(b)] }
