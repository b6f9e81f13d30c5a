package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// A table collects samples by workload and contestant.
type table struct {
	samples map[cell][]sample
	memory  string // peak of our target
}

type cell struct {
	workload   int
	contestant string
}

func newTable() *table { return &table{samples: map[cell][]sample{}} }

func (t *table) add(workload int, contestant string, s sample) {
	c := cell{workload, contestant}
	t.samples[c] = append(t.samples[c], s)
}

// rates are the samples' rates in order of the rounds.
func (t *table) rates(workload int, contestant string) []float64 {
	var v []float64
	for _, s := range t.samples[cell{workload, contestant}] {
		v = append(v, s.perSecond)
	}
	return v
}

// ratio is the median of the ratios of the same round.
func (t *table) ratio(workload int, a, b string) float64 {
	x, y := t.rates(workload, a), t.rates(workload, b)
	var v []float64
	for i := range x {
		v = append(v, x[i]/y[i])
	}
	return median(v)
}

// cost is the median of what a request costs one side in processor time.
func (t *table) cost(workload int, contestant string, of func(sample) time.Duration) time.Duration {
	var v []float64
	for _, s := range t.samples[cell{workload, contestant}] {
		v = append(v, float64(of(s)))
	}
	return time.Duration(median(v))
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// A comparison is a column of ratios.
type comparison struct {
	title, a, b string
}

var comparisons = []comparison{
	{"our target / vblade (plain client)", plainAoe, plainVblade},
	{"our client / plain (on vblade)", benchVblade, plainVblade},
	{"ours / vblade and plain", benchAoe, plainVblade},
	{"ours / echo", benchAoe, echoName},
}

func (t *table) print(w io.Writer) error {
	p := &printer{w: w}
	rounds := len(t.rates(0, echoName))
	p.printf("%d rounds, %s/%s, %d processors. Requests a second, median of the rounds.\n\n", rounds, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	p.printf("| workload |")
	for _, c := range contestants {
		p.printf(" %s |", c.name)
	}
	p.printf("\n|---|")
	for range contestants {
		p.printf("---:|")
	}
	for i, wl := range workloads {
		p.printf("\n| %v |", wl)
		for _, c := range contestants {
			p.printf(" %.1f k |", median(t.rates(i, c.name))/1e3)
		}
	}
	p.printf("\n\nRatios, median of the rounds' ratios; above 1 the first is faster.\n\n| workload |")
	for _, c := range comparisons {
		p.printf(" %s |", c.title)
	}
	p.printf("\n|---|")
	for range comparisons {
		p.printf("---:|")
	}
	for i, wl := range workloads {
		p.printf("\n| %v |", wl)
		for _, c := range comparisons {
			p.printf(" %.2f |", t.ratio(i, c.a, c.b))
		}
	}
	t.printCosts(p)
	p.printf("\n\nMost resident memory of our target: %s\n", t.memory)
	return p.err
}

// printCosts prints processor time, which a busy machine disturbs less than
// rates.
func (t *table) printCosts(p *printer) {
	ofTarget := func(s sample) time.Duration { return s.target }
	ofClient := func(s sample) time.Duration { return s.client }
	p.printf("\n\nProcessor time per request in microseconds, user and system.\n\n")
	p.printf("| workload | vblade | our target | our client on vblade | our client on ours |\n|---|---:|---:|---:|---:|")
	for i, wl := range workloads {
		p.printf("\n| %v |", wl)
		for _, d := range []time.Duration{
			t.cost(i, plainVblade, ofTarget), t.cost(i, plainAoe, ofTarget),
			t.cost(i, benchVblade, ofClient), t.cost(i, benchAoe, ofClient),
		} {
			p.printf(" %.1f |", float64(d)/1e3)
		}
	}
}

// A printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
