//go:build !linux

package store

// alignment says that there is no direct I/O here.
func (s *file) alignment() (memory, block int64, err error) { return 0, 0, errNoDirect }
