//go:build !linux

package lab

import (
	"errors"
	"io"
)

// OpenUnread fails: there is no such socket on this system.
func OpenUnread(string, int) (io.ReadCloser, error) {
	return nil, errors.New("lab: AF_PACKET exists on Linux only")
}
