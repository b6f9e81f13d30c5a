//go:build !linux

package diskcopy

// holes are found by reading them.
func holes(string) (data func(off int64) int64, closeFile func() error) {
	return nil, func() error { return nil }
}
