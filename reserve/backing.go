package reserve

import (
	"errors"
	"fmt"
)

// ErrNotBacked means that the machine has not got the memory that a reserve is to
// be made of.
var ErrNotBacked = errors.New("reserve: not enough memory to back it")

// backed asks before the memory is touched: "the mmap() call doesn't fail if the
// mapping cannot be populated" (mmap(2)), but the machine may kill a process for
// it, and not always this one.
func backed(mem memory, bytes int, besides int64) error {
	have := mem.available()
	if int64(bytes)+besides <= have {
		return nil
	}
	more := ""
	if besides > 0 {
		more = fmt.Sprintf(" and %d KiB are needed besides", besides>>10)
	}
	return fmt.Errorf("%w: %d KiB are to be reserved%s, %d KiB are available: guarantee fewer or shorter requests, or free memory",
		ErrNotBacked, bytes>>10, more, have>>10)
}

// Check reports whether New could back the plan now, on a machine that has to find
// so many bytes besides for the same purpose. The error wraps ErrNotBacked.
func (p Plan) Check(besides int64) error {
	mem, err := systemMemory()
	if err != nil {
		return err
	}
	return errors.Join(backed(mem, p.Config.layout().bytes(p.Config.Reserve), besides), mem.close())
}
