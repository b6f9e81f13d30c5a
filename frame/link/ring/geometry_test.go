package ring

import (
	"os"
	"testing"
)

// TestGeometry: every frame that the MTU allows fits its slot, no slot crosses
// the end of its block (the kernel's rule), and little is wasted.
func TestGeometry(t *testing.T) {
	for mtu := 68; mtu <= 65535; mtu += 61 {
		for _, frames := range []int{1, 2, 7, 256, 1000} {
			g := geometryFor(mtu, frames)
			if g.mtu() < mtu {
				t.Fatalf("MTU %d: slots hold only %d: %+v", mtu, g.mtu(), g)
			}
			if g.slots() < frames {
				t.Fatalf("MTU %d: %d slots, want %d: %+v", mtu, g.slots(), frames, g)
			}
			if g.slotSize%slotAlignment != 0 || g.blockSize%os.Getpagesize() != 0 || g.perBlock*g.slotSize > g.blockSize {
				t.Fatalf("MTU %d: the kernel refuses %+v", mtu, g)
			}
			last := g.offset(g.slots() - 1)
			if last+g.slotSize > g.bytes() {
				t.Fatalf("MTU %d: the last slot ends behind the ring: %+v", mtu, g)
			}
		}
	}
}

// TestGeometryOfCommonMTUs names the cost of a default ring, as the bill prints it.
func TestGeometryOfCommonMTUs(t *testing.T) {
	if os.Getpagesize() != 4096 {
		t.Skip("the numbers are those of pages of 4 KiB")
	}
	for _, row := range []struct{ mtu, slot, bytes int }{
		{1500, 1584, 416 << 10},
		{9000, 9088, 2368 << 10},
	} {
		g := geometryFor(row.mtu, DefaultFrames)
		if g.slotSize != row.slot || g.bytes() != row.bytes {
			t.Errorf("MTU %d: slots of %d bytes, ring of %d KiB; want %d and %d KiB", row.mtu, g.slotSize, g.bytes()>>10, row.slot, row.bytes>>10)
		}
	}
}
