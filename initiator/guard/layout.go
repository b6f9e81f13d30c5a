package guard

import (
	"encoding/binary"

	"aoe/frame"
)

// The shared memory of a table is an array of 64-bit words. Each is written by
// one atomic store, and read by one load: no reader sees half of it.
const (
	wordMode   = 0 // one of the modes below
	wordLocal  = 1 // our port, as packDst
	wordRemote = 2 // the target's, as packSrc
	wordAddr   = 3 // the disk's address, as packAddr
	wordSocket = 4 // not 0 when what passes goes into an AF_XDP socket
	wordTags   = 8 // the first of the slots' words, see packTags
)

// Modes of a table.
const (
	modeAsking  = 0 // the disk is looked for: any answer from its address passes
	modeServing = 1 // only what is outstanding
)

// packDst is a MAC as a program reads it from the first field of a frame: four
// bytes, and two above them. In the memory's own byte order, because it is
// compared and nothing else.
func packDst(m frame.MAC) uint64 {
	return uint64(binary.NativeEndian.Uint32(m[0:4])) | uint64(binary.NativeEndian.Uint16(m[4:6]))<<32
}

// packSrc is a MAC as a program reads it from the second field of a frame, where
// it is two bytes and then four that are aligned.
func packSrc(m frame.MAC) uint64 {
	return uint64(binary.NativeEndian.Uint32(m[2:6])) | uint64(binary.NativeEndian.Uint16(m[0:2]))<<32
}

// packAddr is an address as a program reads it.
func packAddr(a frame.Addr) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], a.Shelf)
	return uint64(binary.NativeEndian.Uint16(b[:])) | uint64(a.Slot)<<16
}

// packTags is the word of a slot: its first outstanding generation, how many
// there are, of which 31 bits are enough because a generation has at most 28,
// and in the highest bit whether they are tags of a query.
func packTags(first, count uint32, query bool) uint64 {
	w := uint64(first) | uint64(count)<<32
	if query {
		w |= 1 << 63
	}
	return w
}
