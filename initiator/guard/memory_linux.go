package guard

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A memory tells whether the machine's is short, with two marks: it is from when
// less than low is available, until more than high is. Between the two it is
// what it was, so that one on the edge does not let the flood in between every
// two looks.
//
// What counts is what is available, MemAvailable of proc_meminfo(5): "an estimate
// of how much memory is available for starting new applications, without
// swapping". Free memory says nothing: a healthy machine has hardly any, and
// one that swaps keeps as much as its watermarks say until it cannot any more.
// By then it is too late: what foreign frames have taken does not come back.
type memory struct {
	fd        int // of /proc/meminfo; -1: none
	low, high uint64
	short     bool
	text      [256]byte // MemAvailable is on the third line
}

// openMemory takes memory for short below low bytes. The file stays open: its
// buffer in the kernel is made when it is read first, and kept.
func openMemory(low int64) (m memory, err error) {
	m = memory{fd: -1, low: uint64(low), high: uint64(low + low/2)}
	if m.fd, err = unix.Open("/proc/meminfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return m, fmt.Errorf("/proc/meminfo: %w", err)
	}
	if _, ok := m.available(); !ok {
		return m, errors.Join(errors.New("/proc/meminfo has no MemAvailable among its first lines"), m.close())
	}
	return m, nil
}

func (m *memory) close() error {
	if m.fd < 0 {
		return nil
	}
	err := unix.Close(m.fd)
	m.fd = -1
	return err
}

// isShort looks again. What cannot be found out counts as short: then foreign
// frames wait, and nothing else.
func (m *memory) isShort() bool {
	n, ok := m.available()
	switch {
	case !ok, n < m.low:
		m.short = true
	case n > m.high:
		m.short = false
	}
	return m.short
}

// available is MemAvailable in bytes. It allocates nothing.
func (m *memory) available() (uint64, bool) {
	n, err := unix.Pread(m.fd, m.text[:], 0)
	if err != nil {
		return 0, false
	}
	return parseAvailable(m.text[:n])
}

var availableField = []byte("MemAvailable:")

func parseAvailable(b []byte) (uint64, bool) {
	i := bytes.Index(b, availableField)
	if i < 0 {
		return 0, false
	}
	b = bytes.TrimLeft(b[i+len(availableField):], " ")
	kib, digits := uint64(0), 0
	for ; digits < len(b) && b[digits] >= '0' && b[digits] <= '9'; digits++ {
		kib = 10*kib + uint64(b[digits]-'0')
	}
	if digits == 0 || !bytes.HasPrefix(b[digits:], []byte(" kB")) {
		return 0, false
	}
	return kib << 10, true
}

// Bounds of the default mark.
const (
	lowShare = 8         // of all memory
	leastLow = 4 << 20   // a flood of 100,000 pages a second for 10 ms
	mostLow  = 256 << 20 // and of that many for half a second
)

// defaultLow is an eighth of the machine's memory, within bounds.
func defaultLow() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, os.NewSyscallError("sysinfo", err)
	}
	return min(max(int64(info.Totalram)*int64(info.Unit)/lowShare, leastLow), mostLow), nil
}
