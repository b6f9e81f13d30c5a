package inside

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A kmsg writes lines to the kernel's log without allocating.
type kmsg struct {
	fd   int
	line []byte // locked, of fixed capacity
}

func openKmsg() (*kmsg, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("inside: open /dev/kmsg: %w", err)
	}
	line, err := lockedBytes(os.Getpagesize())
	if err != nil {
		return nil, err
	}
	return &kmsg{fd, line[:0]}, nil
}

// begin starts a line.
func (k *kmsg) begin(words string) *kmsg {
	k.line = append(append(k.line[:0], "guest: "...), words...)
	return k
}

// number appends " key=n".
func (k *kmsg) number(key string, n int64) *kmsg {
	k.line = append(k.line, ' ')
	k.line = append(append(k.line, key...), '=')
	k.line = strconv.AppendInt(k.line, n, 10)
	return k
}

// word appends " key=value".
func (k *kmsg) word(key, value string) *kmsg {
	k.line = append(k.line, ' ')
	k.line = append(append(k.line, key...), '=')
	k.line = append(k.line, value...)
	return k
}

// end writes the line.
func (k *kmsg) end() error {
	if _, err := unix.Write(k.fd, k.line); err != nil {
		return fmt.Errorf("inside: write to /dev/kmsg: %w", err)
	}
	return nil
}

// lockedBytes is memory off the heap that is never swapped out.
func lockedBytes(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err == nil {
		err = unix.Mlock(b)
	}
	if err != nil {
		return nil, fmt.Errorf("inside: %d bytes of locked memory: %w", n, err)
	}
	return b, nil
}
