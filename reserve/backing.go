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
func backed(mem memory, bytes int) error {
	if have := mem.available(); int64(bytes) > have {
		return fmt.Errorf("%w: %d KiB are to be reserved, %d KiB are available: guarantee fewer or shorter requests, or free memory",
			ErrNotBacked, bytes>>10, have>>10)
	}
	return nil
}

// Check reports whether New could back the plan now. The error wraps ErrNotBacked.
func (p Plan) Check() error {
	mem, err := systemMemory()
	if err != nil {
		return err
	}
	return errors.Join(backed(mem, p.Config.layout().bytes(p.Config.Reserve)), mem.close())
}
