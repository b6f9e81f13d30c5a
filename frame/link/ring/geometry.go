package ring

import "os"

// Sizes of packet(7), TPACKET_V2, in bytes.
const (
	// slotHeader is what stands before the payload of a frame in its slot:
	// TPACKET_ALIGN(TPACKET2_HDRLEN + 16), with TPACKET2_HDRLEN = 52.
	// The Ethernet header is the last 14 bytes of it.
	slotHeader    = 80
	slotAlignment = 16

	// maxBlock is the largest block that is asked for. A block is physically
	// contiguous memory when the kernel can have it, so it should be modest.
	maxBlock = 64 << 10

	// maxBytes is the largest ring, and more than one needs: 110,000 frames at
	// MTU 9000. The kernel would try to give whatever it is asked for, and
	// kill processes for it.
	maxBytes = 1 << 30
)

// A geometry is the shape of a ring. The kernel wants whole slots in a block,
// and counts them: slots = blocks x (blockSize / slotSize).
type geometry struct {
	slotSize  int // bytes, header included
	blockSize int // bytes, a power of two
	blocks    int
	perBlock  int // slots in a block; what is left of the block is not used
}

// geometryFor is the shape with at least frames slots for frames of the given
// MTU that wastes the least memory at the end of its blocks.
func geometryFor(mtu, frames int) geometry {
	slot := (slotHeader + mtu + slotAlignment - 1) &^ (slotAlignment - 1)
	best := geometry{}
	// "tp_block_size must be a multiple of PAGE_SIZE" (packet_mmap), which is 4,
	// 16 or 64 KiB; the kernel allocates powers of two.
	for size := os.Getpagesize(); size <= maxBlock || best.perBlock == 0; size *= 2 {
		per := size / slot
		if per == 0 {
			continue
		}
		g := geometry{slotSize: slot, blockSize: size, perBlock: per, blocks: (frames + per - 1) / per}
		if best.perBlock == 0 || g.bytes() < best.bytes() {
			best = g
		}
	}
	return best
}

// Memory is what a ring with at least that many slots for frames of the given MTU
// costs: slots of slotBytes each, and bytes in all. It is the kernel's memory,
// mapped into this process, never swapped out and held as long as the link is
// open. Zero frames mean DefaultFrames.
func Memory(mtu, frames int) (slots, slotBytes, bytes int) {
	if frames <= 0 {
		frames = DefaultFrames
	}
	g := geometryFor(mtu, frames)
	return g.slots(), g.slotSize, g.bytes()
}

// bytes is the memory that the ring costs.
func (g geometry) bytes() int { return g.blockSize * g.blocks }

func (g geometry) slots() int { return g.perBlock * g.blocks }

// offset is where slot i starts in the mapped ring.
func (g geometry) offset(i int) int {
	return i/g.perBlock*g.blockSize + i%g.perBlock*g.slotSize
}

// mtu is the largest that fits the slots.
func (g geometry) mtu() int { return g.slotSize - slotHeader }
