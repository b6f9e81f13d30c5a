//go:build !linux

package attach

import (
	"io"
	"net"
	"time"
)

// A stream moves bytes between a connected socket and scattered memory. This
// is the portable form, with one system call for each piece.
type stream struct {
	conn  net.Conn
	stall time.Duration
}

func newStream(conn *net.UnixConn, stall time.Duration) (*stream, error) {
	return &stream{conn, stall}, nil
}

func (s *stream) close() { s.conn.Close() }

func (s *stream) read(b []byte) (int, error) { return s.conn.Read(b) }

func (s *stream) readFull(segs [][]byte, skip int, tail []byte) (int, error) {
	for _, b := range segs {
		n := min(skip, len(b))
		skip -= n
		for b = b[n:]; len(b) > 0; b = b[n:] {
			if err := s.hurry(s.conn.SetReadDeadline); err != nil {
				return 0, err
			}
			var err error
			if n, err = s.conn.Read(b); err == io.EOF {
				return 0, io.ErrUnexpectedEOF
			} else if err != nil {
				return 0, err
			}
		}
	}
	return 0, s.conn.SetReadDeadline(time.Time{})
}

func (s *stream) writeAll(pieces [][]byte, skip int) error {
	for _, b := range pieces {
		n := min(skip, len(b))
		skip -= n
		if b = b[n:]; len(b) == 0 {
			continue
		}
		if err := s.hurry(s.conn.SetWriteDeadline); err != nil {
			return err
		}
		if _, err := s.conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) hurry(deadline func(time.Time) error) error {
	if s.stall < 0 {
		return nil
	}
	return deadline(time.Now().Add(s.stall))
}
