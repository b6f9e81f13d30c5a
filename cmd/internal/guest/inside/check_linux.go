package inside

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Run checks and prints how it went.
func (c Check) Run(w io.Writer) error {
	// O_DIRECT: what is read comes from the disk, and not from memory.
	f, err := os.OpenFile(c.Path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("inside: %w", err)
	}
	defer f.Close() // everything was read back
	worst, err := c.check(f, func(n int) ([]byte, error) {
		// "O_DIRECT ... imposes alignment restrictions on the length and address of
		// user-space buffers" (open(2)): a mapping begins with a page.
		b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			err = fmt.Errorf("inside: map %d bytes: %w", n, err)
		}
		return b, err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "checked %d bytes at %d of %s, worst request %d ms\n", c.Bytes, c.Offset, c.Path, worst/time.Millisecond)
	return err
}
