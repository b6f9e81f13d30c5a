//go:build !linux

package lab

import (
	"errors"
	"os"
)

func openDirect(string) (*os.File, error) {
	return nil, errors.New("lab: direct I/O on a block device needs Linux")
}

func alignedBuffer(sizeBytes int) []byte { return make([]byte, sizeBytes) }
