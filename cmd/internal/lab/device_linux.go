package lab

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a block device past the page cache, so that every read and
// write is a request to it.
func openDirect(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return f, nil
}

// alignedBuffer is memory that begins on a page: "the alignment of user-space
// buffers and file offsets" O_DIRECT asks for (open(2)). It is never unmapped:
// a run needs a few of them.
func alignedBuffer(sizeBytes int) []byte {
	b, err := unix.Mmap(-1, 0, sizeBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		panic(fmt.Sprintf("lab: mapping %d bytes: %v", sizeBytes, err))
	}
	return b
}
