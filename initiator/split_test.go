package initiator

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"aoe/frame"
	"aoe/frame/link/linktest"
)

// TestH21FramesKeepPagesWhole: the payload is a multiple of 8 sectors where 8
// fit, and what begins on a page ends on one.
func TestH21FramesKeepPagesWhole(t *testing.T) {
	for fit, want := range map[int]int{0: 0, 1: 1, 2: 2, 3: 2, 5: 4, 7: 4, 8: 8, 9: 8, 15: 8, 16: 16, 17: 16, 31: 24, 255: 248} {
		if got := payloadSectors(fit); got != want {
			t.Errorf("%d sectors fit: %d are used, want %d", fit, got, want)
		}
	}
	for _, row := range []struct {
		mtu  int
		seen map[uint8]int // frames by their sector count
		lba  int
		n    int
	}{
		{1500, map[uint8]int{2: 4}, 8, 8},
		{9000, map[uint8]int{8: 1}, 8, 8},
		{9000, map[uint8]int{16: 2}, 16, 32},
		{9000, map[uint8]int{16: 2}, 8, 32},
		{9000, map[uint8]int{15: 1, 16: 1, 1: 1}, 9, 32}, // one frame to get onto a boundary
		{9000, map[uint8]int{3: 1}, 5, 3},
	} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			b := newBed(t, bedConfig{sw: linktest.Config{MTU: row.mtu}})
			p := make([]byte, row.n*frame.SectorSize)
			if _, err := b.disk.WriteAt(p, int64(row.lba*frame.SectorSize)); err != nil {
				t.Fatal(err)
			}
			if got := b.target.Seen().Sectors; fmt.Sprint(got) != fmt.Sprint(row.seen) {
				t.Errorf("frames by sectors: %v, want %v", got, row.seen)
			}
		})
	}
}

// TestSplitFits: whatever the request, it is as many frames as were counted, not
// more than were planned, one behind the other, none longer than the payload.
func TestSplitFits(t *testing.T) {
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20000 {
		d := &Disk{payload: payloadSectors(1 + rng.IntN(40))}
		lba, n := rng.Uint64N(1<<40), uint64(1+rng.IntN(256))
		count := d.frames(Read, lba, n)
		if most := framesFor(int(n)*frame.SectorSize, d.payload); count > most {
			t.Fatalf("%d sectors from %d in frames of %d: %d frames, planned for %d", n, lba, d.payload, count, most)
		}
		size, left := firstFrame(lba, d.payload), int(n)
		for i := range count {
			size = min(size, left)
			if size < 1 || size > d.payload {
				t.Fatalf("frame %d of %d has %d sectors, payload %d", i, count, size, d.payload)
			}
			left, size = left-size, d.payload
		}
		if left != 0 {
			t.Fatalf("%d sectors from %d in frames of %d: %d left over", n, lba, d.payload, left)
		}
	}
}
