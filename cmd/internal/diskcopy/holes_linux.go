package diskcopy

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// holes asks the file system where the file at path has data (SEEK_DATA in
// lseek(2)). It has a file descriptor of its own, because the offset belongs to
// the descriptor. The returned functions are for one goroutine.
func holes(path string) (data func(off int64) int64, closeFile func() error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, func() error { return nil }
	}
	data = func(off int64) int64 {
		next, err := f.Seek(off, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO): // "whence is SEEK_DATA and ... the offset is within a hole at the end of the file"
			return math.MaxInt64
		case err != nil:
			return off // a file system that does not know: everything may be data
		}
		return next
	}
	return data, f.Close
}
