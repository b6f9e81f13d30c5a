package attach

import (
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A stream moves bytes between a connected socket and scattered memory without
// a copy in between, and without allocating. One goroutine may read while
// another writes; close may be called at any time by any.
type stream struct {
	conn  streamConn
	raw   streamCaller
	stall time.Duration // longest time without progress; negative: for ever
	in    pump
	out   pump
}

// A streamConn is what a stream needs of a net.Conn, and a streamCaller what it
// needs of a syscall.RawConn.
type (
	streamConn interface {
		Close() error
		SetReadDeadline(time.Time) error
		SetWriteDeadline(time.Time) error
	}
	streamCaller interface {
		Read(f func(fd uintptr) bool) error
		Write(f func(fd uintptr) bool) error
	}
)

// A pump is one direction of a stream. The functions are made once, because a
// closure per call would be an allocation per call.
type pump struct {
	iov   []unix.Iovec
	n     int
	errno unix.Errno
	once  func(fd uintptr) bool // tries
	until func(fd uintptr) bool // tries, and asks to be called again when the socket is ready
}

// maxIovec is how many pieces readv(2) and writev(2) take: IOV_MAX in limits.h.
const maxIovec = 1024

// newStream takes ownership of conn.
func newStream(conn *net.UnixConn, stall time.Duration) (*stream, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{conn: conn, raw: raw, stall: stall}
	s.in.prepare(unix.SYS_READV)
	s.out.prepare(unix.SYS_WRITEV)
	return s, nil
}

func (p *pump) prepare(call uintptr) {
	p.iov = make([]unix.Iovec, 0, maxIovec)
	p.once = func(fd uintptr) bool {
		p.n, p.errno = vectored(call, fd, p.iov)
		return true
	}
	p.until = func(fd uintptr) bool {
		p.n, p.errno = vectored(call, fd, p.iov)
		return p.errno != unix.EAGAIN
	}
}

func (s *stream) close() { s.conn.Close() }

// read waits, as long as it takes, for at least one byte.
func (s *stream) read(b []byte) (int, error) {
	s.in.iov = appendIovec(s.in.iov[:0], b)
	return s.finishRead(s.raw.Read(s.in.until))
}

// readFull fills segs, but for the first skip bytes, and then as much of tail
// as happens to be there. It returns how much of tail was filled. A peer that
// stalls is given up: what is filled here has been reserved for it.
func (s *stream) readFull(segs [][]byte, skip int, tail []byte) (int, error) {
	total := segmentBytes(segs)
	for skip < total {
		s.in.iov = appendIovecs(s.in.iov[:0], segs, skip)
		if len(s.in.iov) < maxIovec {
			s.in.iov = appendIovec(s.in.iov, tail)
		}
		n, err := s.finishRead(s.hurry(&s.in, s.raw.Read, s.conn.SetReadDeadline))
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		skip += n
	}
	return skip - total, nil
}

// writeAll sends pieces, in order, but for the first skip bytes. A peer that
// stalls is given up.
func (s *stream) writeAll(pieces [][]byte, skip int) error {
	for total := segmentBytes(pieces); skip < total; {
		s.out.iov = appendIovecs(s.out.iov[:0], pieces, skip)
		err := s.hurry(&s.out, s.raw.Write, s.conn.SetWriteDeadline)
		clear(s.out.iov)
		if err != nil {
			return err
		}
		if s.out.errno != 0 {
			return s.out.errno
		}
		skip += s.out.n
	}
	return nil
}

// tryFill is one attempt of readFull: it reads what is there behind the first
// skip bytes of segs, and then of tail. Nothing there is zero bytes and no error.
func (s *stream) tryFill(segs [][]byte, skip int, tail []byte) (int, error) {
	s.in.iov = appendIovecs(s.in.iov[:0], segs, skip)
	if len(s.in.iov) < maxIovec {
		s.in.iov = appendIovec(s.in.iov, tail)
	}
	n, err := s.finishRead(s.raw.Read(s.in.once))
	if err == unix.EAGAIN {
		return 0, nil
	}
	return n, err
}

// tryWrite is one attempt of writeAll: it sends what there is room for, perhaps
// nothing.
func (s *stream) tryWrite(pieces [][]byte) (int, error) {
	s.out.iov = appendIovecs(s.out.iov[:0], pieces, 0)
	err := s.raw.Write(s.out.once)
	clear(s.out.iov)
	switch {
	case err != nil:
		return 0, err
	case s.out.errno == unix.EAGAIN:
		return 0, nil
	case s.out.errno != 0:
		return 0, s.out.errno
	}
	return s.out.n, nil
}

// hurry moves what can be moved. Only if that is nothing does it set a
// deadline and wait: most of the time there is none to set.
func (s *stream) hurry(p *pump, do func(func(uintptr) bool) error, deadline func(time.Time) error) error {
	if err := do(p.once); err != nil || p.errno != unix.EAGAIN {
		return err
	}
	if s.stall >= 0 {
		if err := deadline(time.Now().Add(s.stall)); err != nil {
			return err
		}
		defer deadline(time.Time{})
	}
	return do(p.until)
}

func (s *stream) finishRead(err error) (int, error) {
	clear(s.in.iov) // do not keep buffers alive that were given back
	switch {
	case err != nil:
		return 0, err
	case s.in.errno != 0:
		return 0, s.in.errno
	case s.in.n == 0:
		return 0, io.EOF
	}
	return s.in.n, nil
}

// appendIovecs appends what of segs lies behind the first skip bytes, as far
// as there is room for.
func appendIovecs(iov []unix.Iovec, segs [][]byte, skip int) []unix.Iovec {
	for _, b := range segs {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		if len(iov) == maxIovec {
			break
		}
		iov = appendIovec(iov, b[skip:])
		skip = 0
	}
	return iov
}

func appendIovec(iov []unix.Iovec, b []byte) []unix.Iovec {
	if len(b) == 0 {
		return iov
	}
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return append(iov, v)
}
