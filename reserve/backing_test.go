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
		available, besides int64
		refused            string
	}{
		{bytes, 0, ""},
		{bytes - 1, 0, "10240 KiB are to be reserved, 10239 KiB are available"},
		{0, 0, "10240 KiB are to be reserved, 0 KiB"},
		{unknown, 0, ""},
		{bytes + 2048, 2048, ""},
		{bytes + 2047, 2048, "10240 KiB are to be reserved and 2 KiB are needed besides, 10241 KiB are available"},
		{unknown, 2048, ""},
	} {
		m := newFakeMemory()
		m.avail = row.available
		err := backed(m, bytes, row.besides)
		if (row.refused == "") != (err == nil) || err != nil && (!errors.Is(err, ErrNotBacked) || !strings.Contains(err.Error(), row.refused)) {
			t.Errorf("%d available, %d needed besides: %v", row.available, row.besides, err)
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
	if err := p.Check(0); !errors.Is(err, ErrNotBacked) {
		t.Errorf("Check: %v", err)
	}
	if r, err := New(p.Config); !errors.Is(err, ErrNotBacked) {
		t.Errorf("New: %v, %v", r, err)
	}
	small, err := Sizing{}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if err := small.Check(0); err != nil {
		t.Errorf("a small plan: %v", err)
	}
	if err := small.Check(mem.total()); !errors.Is(err, ErrNotBacked) {
		t.Errorf("a small plan, and all there is besides: %v", err)
	}
}
