package xdp

import "testing"

// TestShapes: a frame takes as few chunks as it can, of a size that the kernel
// takes, and Memory is what a queue holds.
func TestShapes(t *testing.T) {
	for _, row := range []struct {
		mtu, frames    int
		chunk, chunks  int
		mtuOfOne, ring int
	}{
		{1500, 0, 2048, 256, 1778, 256},
		{1778, 10, 2048, 10, 1778, 16},
		{1779, 10, 4096, 10, 3826, 16},
		{3826, 1, 4096, 1, 3826, 1},
		{9000, 0, 4096, 768, 3826, 1024},
		{65535, 2, 4096, 36, 3826, 64},
	} {
		s := shapeFor(row.mtu, row.frames)
		if s.chunk != row.chunk || s.chunks != row.chunks || s.mtu() != row.mtuOfOne || s.entries() != row.ring {
			t.Errorf("MTU %d, %d frames: %+v, %d in one, %d entries; want %+v", row.mtu, row.frames, s, s.mtu(), s.entries(), row)
		}
		chunks, size, bytes := Memory(row.mtu, row.frames)
		if chunks != row.chunks || size != row.chunk || bytes != chunks*size+24*row.ring {
			t.Errorf("MTU %d, %d frames: memory %d x %d, %d", row.mtu, row.frames, chunks, size, bytes)
		}
	}
}
