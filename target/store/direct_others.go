//go:build !linux

package store

// address is not asked for.
func address([]byte) uintptr { return 0 }

// alignment says that there is no direct I/O here.
func (s *file) alignment() (memory, block int64, err error) { return 0, 0, errNoDirect }
