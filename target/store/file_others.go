//go:build !linux

package store

import (
	"errors"
	"io"
	"os"
)

// openFile opens what cfg names.
func openFile(cfg Config, _ bool) (*os.File, error) {
	if cfg.ReadOnly {
		return os.Open(cfg.Path)
	}
	return os.OpenFile(cfg.Path, os.O_RDWR, 0)
}

// lock does nothing: see the package comment.
func (s *file) lock() error { return nil }

func (s *file) wholeSize() (int64, error) {
	if s.device {
		return s.f.Seek(0, io.SeekEnd)
	}
	st, err := s.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (s *file) datasync() error { return s.f.Sync() }

func (s *file) discard(off, n int64) error { return nil }

func (s *file) readNow(p []byte, at int64) error { return ErrWouldBlock }

func (s *file) readTogether([][]byte, int64, bool) (int, error) { return 0, errors.ErrUnsupported }

func (s *file) writeTogether([][]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// describe leaves what is not known empty: without an identity the disk's
// serial has to be given.
func (s *file) describe() error { return nil }
