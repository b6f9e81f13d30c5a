//go:build !linux

package lab

import (
	"errors"
	"io"
)

func openUnread(string, int) (io.Closer, error) {
	return nil, errors.New("lab: AF_PACKET exists on Linux only")
}
