package reserve

import "testing"

func TestFaults(t *testing.T) {
	for _, c := range []struct{ perMille, low, high int }{{0, 0, 0}, {1000, 10_000, 10_000}, {250, 2300, 2700}} {
		f := NewFaults(42, c.perMille)
		n := 0
		for range 10_000 {
			if f.Fail() {
				n++
			}
		}
		if n < c.low || n > c.high {
			t.Errorf("%d per mille: %d of 10000 failed", c.perMille, n)
		}
	}
	a, b := NewFaults(7, 500), NewFaults(7, 500)
	for i := range 1000 {
		if a.Fail() != b.Fail() {
			t.Fatalf("call %d differs with the same seed", i)
		}
	}
}
