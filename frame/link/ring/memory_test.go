package ring

import "testing"

// TestMemoryIsThatOfTheRing: what is told beforehand is what is made.
func TestMemoryIsThatOfTheRing(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		g := geometryFor(mtu, DefaultFrames)
		slots, slotBytes, bytes := Memory(mtu, 0)
		if slots != g.slots() || slotBytes != g.slotSize || bytes != g.bytes() || slots < DefaultFrames || bytes < slots*slotBytes {
			t.Errorf("MTU %d: %d slots of %d bytes, %d in all; the ring is %+v", mtu, slots, slotBytes, bytes, g)
		}
	}
}
