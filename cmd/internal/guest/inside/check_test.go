package inside

import (
	"errors"
	"testing"
	"time"
)

// memory is a disk that may lose writes.
type memory struct {
	data   []byte
	forget func(off int64) bool // a write there
	fail   error                // of reads
}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	return copy(b, m.data[off:]), nil
}

func (m *memory) WriteAt(b []byte, off int64) (int, error) {
	if m.forget != nil && m.forget(off) {
		return len(b), nil
	}
	return copy(m.data[off:], b), nil
}

func buffer(n int) ([]byte, error) { return make([]byte, n), nil }

// TestCheck: a disk that keeps what is written is good, and what is beside the
// part that is checked is not touched.
func TestCheck(t *testing.T) {
	m := &memory{data: make([]byte, 6<<20)}
	if _, err := (Check{Offset: 1 << 20, Bytes: 4 << 20, Seed: 1}).check(m, buffer); err != nil {
		t.Fatal(err)
	}
	for i, b := range m.data {
		if b != 0 && (i < 1<<20 || i >= 5<<20) {
			t.Fatalf("byte %d was written to", i)
		}
	}
}

// TestCheckFinds: a write that did not happen is found, whichever it is: the first
// to a page, one that comes later, or one to the wrong place.
func TestCheckFinds(t *testing.T) {
	writes := 0
	for name, forget := range map[string]func(int64) bool{
		"the first": func(off int64) bool { writes++; return writes == 1 },
		"a later":   func(off int64) bool { writes++; return writes == 30 },
	} {
		writes = 0
		m := &memory{data: make([]byte, 1<<20), forget: forget}
		_, err := Check{Bytes: 1 << 20, Seed: 1, Workers: 1, Rounds: 4}.check(m, buffer)
		var wrong *WrongPage
		if !errors.As(err, &wrong) {
			t.Errorf("%s write lost: %v after %d writes", name, err, writes)
		}
	}
	m := &memory{data: make([]byte, 1<<20)}
	c := checker{disk: m, generations: make([]uint8, 4), buf: make([]byte, maxExtent*pageBytes), now: time.Now}
	if err := c.write(0, 4); err != nil {
		t.Fatal(err)
	}
	copy(m.data[pageBytes:2*pageBytes], m.data)
	var wrong *WrongPage
	if err := c.verify(0, 4); !errors.As(err, &wrong) || wrong.Page != 1 {
		t.Errorf("a page in another's place: %v", err)
	}
}

func TestCheckTellsErrors(t *testing.T) {
	broken := errors.New("broken")
	if _, err := (Check{Bytes: 1 << 20}).check(&memory{data: make([]byte, 1<<20), fail: broken}, buffer); !errors.Is(err, broken) {
		t.Errorf("a disk that cannot be read: %v", err)
	}
	for _, bad := range []Check{{}, {Bytes: 1<<20 + 1}, {Bytes: 1 << 20, Offset: 7}, {Bytes: 1 << 18}} {
		if _, err := bad.check(&memory{}, buffer); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
