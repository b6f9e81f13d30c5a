package reserve

import (
	"errors"
	"strings"
	"testing"
)

// TestPlanThatCannotBeBackedIsRefused before a page of it is touched: the sum is
// compared with what the system says that it has, to the byte.
func TestPlanThatCannotBeBackedIsRefused(t *testing.T) {
	const bytes = 10 << 20
	for _, row := range []struct {
		available int64
		ok        bool
	}{{bytes, true}, {bytes - 1, false}, {0, false}, {unknown, true}} {
		m := newFakeMemory()
		m.avail = row.available
		err := backed(m, bytes)
		if row.ok != (err == nil) || !row.ok && (!errors.Is(err, ErrNotBacked) || !strings.Contains(err.Error(), "10240 KiB are to be reserved")) {
			t.Errorf("%d available: %v", row.available, err)
		}
	}
}

// TestPlanLargerThanTheMachine is refused by Check and by New alike, and at once.
func TestPlanLargerThanTheMachine(t *testing.T) {
	mem, err := systemMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer mem.close()
	if mem.total() == unknown {
		t.Skip("this system does not say how much memory it has")
	}
	const size = 128 << 10
	p, err := Sizing{MTU: 1 << 16, Requests: int(mem.total()/size) + 1, FramesPerRequest: 2}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); !errors.Is(err, ErrNotBacked) {
		t.Errorf("Check: %v", err)
	}
	if r, err := New(p.Config); !errors.Is(err, ErrNotBacked) {
		t.Errorf("New: %v, %v", r, err)
	}
	small, err := Sizing{}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if err := small.Check(); err != nil {
		t.Errorf("a small plan: %v", err)
	}
}
