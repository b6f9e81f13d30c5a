//go:build !linux

package reserve

import "errors"

// heap stands in for the system's memory elsewhere: plain slices, so that
// everything builds and runs, and nothing is guaranteed. They may be swapped
// out, and normal allocation never fails by itself.
type heap struct{}

func systemMemory() (memory, error) { return heap{}, nil }

func (heap) mapping(n int, lock bool) ([]byte, error) {
	if lock {
		return nil, errors.New("Config.Lock needs Linux: leave it unset here")
	}
	// The runtime begins objects of this size at a page of its own.
	return make([]byte, max(n, 64<<10))[:n], nil
}

func (heap) unmap([]byte) error { return nil }
func (heap) available() int64   { return unknown }
func (heap) total() int64       { return unknown }
func (heap) close() error       { return nil }
