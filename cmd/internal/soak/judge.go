package main

import (
	"fmt"
	"io"
	"time"

	"aoe/cmd/internal/show"
)

// The bounds of "flat". They are for what was counted since the baseline, which
// is taken after the first seconds of load.
type bounds struct {
	// Allocations on the heap that are not per request: the runtime's own, as
	// when a thread starts, a timer's heap grows or the collector has
	// dropped its caches of waiting goroutines (sudog).
	Allocations uint64
	// AllocationsPerMillion is for requests. One allocation in a thousand
	// would be 1000; a request that allocates is seen in the first second.
	AllocationsPerMillion float64
	// MinorFaults, PerMillion as above. A page that is touched first after the
	// baseline counts once, so the number is bounded by what is mapped
	// and not touched yet.
	MinorFaults           uint64
	MinorFaultsPerMillion float64
	// RSSBytes of growth. A leak of 16 bytes in a thousand requests is more
	// than this within an hour at 20,000 requests a second.
	RSSBytes int64
	// Goroutines more than at the baseline.
	Goroutines int64
}

// initiatorBounds: the process is sealed, so nothing but the runtime's own.
var initiatorBounds = bounds{Allocations: 64, AllocationsPerMillion: 1, MinorFaults: 32, MinorFaultsPerMillion: 1, RSSBytes: 1 << 20}

// targetBounds: an ordinary process with an ordinary collector, which runs
// every two minutes whether there is garbage or not, gives memory back to
// the system and faults it in again.
var targetBounds = bounds{Allocations: 1000, AllocationsPerMillion: 10, MinorFaults: 1000, MinorFaultsPerMillion: 20, RSSBytes: 2 << 20}

// A process is what is known about one of the two.
type process struct {
	name   string
	bounds bounds
	base   reading // after the warm-up
	last   reading
	now    reading
}

// perMillion scales n to a million requests.
func perMillion(n, requests uint64) float64 {
	return float64(n) * 1e6 / float64(max(requests, 1))
}

// complaints says what was not flat in requests requests.
func (p *process) complaints(requests uint64) (all []string) {
	b := p.bounds
	say := func(format string, a ...any) { all = append(all, p.name+": "+fmt.Sprintf(format, a...)) }
	check := func(what string, n, fixed uint64, each float64) {
		if most := float64(fixed) + each*float64(requests)/1e6; float64(n) > most {
			say("%d %s, %.1f per million requests: want at most %d and %g per million", n, what, perMillion(n, requests), fixed, each)
		}
	}
	check("heap allocations", p.now.Allocations-p.base.Allocations, b.Allocations, b.AllocationsPerMillion)
	check("minor page faults", p.now.MinorFaults-p.base.MinorFaults, b.MinorFaults, b.MinorFaultsPerMillion)
	if n := p.now.MajorFaults - p.base.MajorFaults; n > 0 {
		say("%d major page faults: a page had to be read from a disk", n)
	}
	if grown := int64(p.now.RSS) - int64(p.base.RSS); grown > b.RSSBytes {
		say("grew by %s: want at most %s", show.Bytes(grown), show.Bytes(b.RSSBytes))
	}
	if n := int64(p.now.Goroutines) - int64(p.base.Goroutines); n > b.Goroutines {
		say("%d goroutines more than at the baseline", n)
	}
	if p.now.Errors > 0 || p.now.Wrong > 0 {
		say("%d requests failed, %d read something else than was written", p.now.Errors, p.now.Wrong)
	}
	return all
}

// A report is the table of a run.
type report struct {
	w                 io.Writer
	initiator, target *process
}

const rowFormat = "%-9s %-9s %11s %8s %10s %10s %9s %6s %9s %4s %4s\n"

func (r *report) header() error {
	_, err := fmt.Fprintf(r.w, rowFormat, "after", "process", "requests", "req/s", "retransm.",
		"allocs/M", "faults/M", "major", "RSS", "gor.", "thr.")
	return err
}

// rows prints both processes since from.
func (r *report) rows(after string, took time.Duration, from func(*process) reading) error {
	requests := r.initiator.now.Requests - from(r.initiator).Requests
	for _, p := range []*process{r.initiator, r.target} {
		was := from(p)
		n, rate, again := "", "", ""
		if p == r.initiator {
			n, rate = fmt.Sprint(requests), fmt.Sprintf("%.0f", float64(requests)/took.Seconds())
			again = fmt.Sprint(p.now.Retransmitted - was.Retransmitted)
		}
		_, err := fmt.Fprintf(r.w, rowFormat, after, p.name, n, rate, again,
			fmt.Sprintf("%.2f", perMillion(p.now.Allocations-was.Allocations, requests)),
			fmt.Sprintf("%.2f", perMillion(p.now.MinorFaults-was.MinorFaults, requests)),
			fmt.Sprint(p.now.MajorFaults-was.MajorFaults), show.Bytes(int64(p.now.RSS)),
			fmt.Sprint(p.now.Goroutines), fmt.Sprint(p.now.Threads))
		if err != nil {
			return err
		}
		after = ""
	}
	return nil
}

// complaints of both processes, and of the run.
func (r *report) complaints() []string {
	requests := r.initiator.now.Requests - r.initiator.base.Requests
	all := append(r.initiator.complaints(requests), r.target.complaints(requests)...)
	if requests == 0 {
		all = append(all, "no request was answered: nothing has been shown")
	}
	return all
}
