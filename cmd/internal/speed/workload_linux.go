package main

import (
	"fmt"

	"aoe/cmd/internal/bench"
	"aoe/frame"
)

// payload of a frame at MTU 9000, as initiators cut requests: 16 sectors.
const payload = 8192

// A workload is one way to use a disk.
type workload struct {
	pattern bench.Pattern
	size    int // bytes of a request
	depth   int
}

func (w workload) String() string {
	return fmt.Sprintf("%s %d KiB, depth %d", w.pattern, w.size>>10, w.depth)
}

// frames is how many a request is cut into.
func (w workload) frames() int { return (w.size + payload - 1) / payload }

// frameSizes are those of the two directions of a workload.
func (w workload) frameSizes() (request, reply int) {
	small, large := frame.MinLen, frame.ATADataOffset+min(w.size, payload)
	if w.pattern.Writes() {
		return large, small
	}
	return small, large
}
