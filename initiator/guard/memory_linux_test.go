package guard

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAvailableIsRead(t *testing.T) {
	for _, row := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"MemTotal:  88064 kB\nMemFree: 1636 kB\nMemAvailable:     1234 kB\nBuffers: 0 kB\n", 1234 << 10, true},
		{"MemAvailable:       0 kB\n", 0, true},
		{"MemTotal: 1 kB\nMemFree: 1 kB\nBuffers: 5 kB\n", 0, false}, // before Linux 3.14
		{"MemAvailable:", 0, false},
		{"MemAvailable:  12", 0, false}, // cut short: 12 of how many digits
		{"MemAvailable: kB\n", 0, false},
		{"", 0, false},
	} {
		if n, ok := parseAvailable([]byte(row.text)); n != row.want || ok != row.ok {
			t.Errorf("%q: %d, %v, want %d, %v", row.text, n, ok, row.want, row.ok)
		}
	}
}

// TestMemoryIsShortBetweenItsMarks: from below the low one until above the high
// one; and what cannot be read is short.
func TestMemoryIsShortBetweenItsMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	say := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	say("MemAvailable: 4000 kB\n")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := memory{fd: fd, low: 1000 << 10, high: 1500 << 10}
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, row := range []struct {
		text string
		want bool
	}{
		{"MemAvailable: 4000 kB\n", false},
		{"MemAvailable: 1200 kB\n", false},
		{"MemAvailable:  999 kB\n", true},
		{"MemAvailable: 1200 kB\n", true},
		{"MemAvailable: 1501 kB\n", false},
		{"nonsense\n", true},
		{"MemAvailable: 1200 kB\n", true},
		{"MemAvailable: 4000 kB\n", false},
	} {
		say(row.text)
		if got := m.isShort(); got != row.want {
			t.Errorf("%q: short %v, want %v", row.text, got, row.want)
		}
	}
}

// TestLookingAtMemoryAllocatesNothing, in this process; the kernel's file is the
// real one.
func TestLookingAtMemoryAllocatesNothing(t *testing.T) {
	low, err := defaultLow()
	if err != nil {
		t.Fatal(err)
	}
	if low < leastLow || low > mostLow {
		t.Errorf("the mark is %d", low)
	}
	m, err := openMemory(low)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	if n, ok := m.available(); !ok || n == 0 {
		t.Errorf("%d bytes available, %v", n, ok)
	}
	if n := testing.AllocsPerRun(100, func() { m.isShort() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
