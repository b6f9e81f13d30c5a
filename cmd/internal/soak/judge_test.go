package main

import (
	"strings"
	"testing"
	"time"
)

// hour is two readings with an hour at 20,000 requests a second between them.
func hour() *report {
	base := reading{Requests: 100_000, Allocations: 5000, MinorFaults: 3000, MajorFaults: 7, RSS: 50 << 20, Goroutines: 4, Threads: 8}
	end := base
	end.Requests += 72_000_000
	return &report{
		initiator: &process{name: "initiator", bounds: initiatorBounds, base: base, now: end},
		target:    &process{name: "target", bounds: targetBounds, base: base, now: base},
	}
}

// TestWhatIsNotFlatIsSaid: each bound, at its last good value and one beyond.
func TestWhatIsNotFlatIsSaid(t *testing.T) {
	for _, row := range []struct {
		name string
		set  func(r *report, beyond uint64)
		want string
	}{
		{"allocations", func(r *report, n uint64) { r.initiator.now.Allocations += 64 + 72 + n }, "initiator: 137 heap allocations"},
		{"minor faults", func(r *report, n uint64) { r.initiator.now.MinorFaults += 32 + 72 + n }, "initiator: 105 minor page faults"},
		{"major fault", func(r *report, n uint64) { r.initiator.now.MajorFaults += n }, "initiator: 1 major page faults"},
		{"size", func(r *report, n uint64) { r.initiator.now.RSS += 1<<20 + n }, "initiator: grew by"},
		{"goroutines", func(r *report, n uint64) { r.initiator.now.Goroutines += n }, "initiator: 1 goroutines more"},
		{"errors", func(r *report, n uint64) { r.initiator.now.Errors += n }, "initiator: 1 requests failed"},
		{"wrong data", func(r *report, n uint64) { r.initiator.now.Wrong += n }, "1 read something else"},
		{"the target's allocations", func(r *report, n uint64) { r.target.now.Allocations += 1000 + 720 + n }, "target: 1721 heap allocations"},
		{"the target's size", func(r *report, n uint64) { r.target.now.RSS += 2<<20 + n }, "target: grew by"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := hour()
			row.set(r, 0)
			if bad := r.complaints(); len(bad) > 0 {
				t.Errorf("within the bounds: %q", bad)
			}
			r = hour()
			row.set(r, 1)
			if bad := r.complaints(); len(bad) != 1 || !strings.Contains(bad[0], row.want) {
				t.Errorf("one beyond: %q, want one with %q", bad, row.want)
			}
		})
	}
	r := hour()
	r.initiator.now = r.initiator.base
	if bad := r.complaints(); len(bad) != 1 || !strings.Contains(bad[0], "nothing has been shown") {
		t.Errorf("without requests: %q", bad)
	}
}

// TestRows: numbers since the last row, per million of the initiator's requests.
func TestRows(t *testing.T) {
	r, out := hour(), &strings.Builder{}
	r.w = out
	r.target.now.MinorFaults += 36
	if err := r.rows("1h0m0s", time.Hour, func(p *process) reading { return p.base }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1h0m0s    initiator    72000000    20000", "target", "0.50", " 50M "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
