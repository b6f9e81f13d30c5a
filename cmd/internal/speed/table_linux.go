package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
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
	var names, titles []string
	for _, c := range contestants {
		names = append(names, c.name)
	}
	for _, c := range comparisons {
		titles = append(titles, c.title)
	}
	p.rows(names, func(workload, column int) string {
		return fmt.Sprintf("%.1f k", median(t.rates(workload, names[column]))/1e3)
	})
	p.printf("\n\nRatios, median of the rounds' ratios; above 1 the first is faster.\n\n")
	p.rows(titles, func(workload, column int) string {
		c := comparisons[column]
		return fmt.Sprintf("%.2f", t.ratio(workload, c.a, c.b))
	})
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
	sides := []struct {
		title, contestant string
		of                func(sample) time.Duration
	}{
		{"vblade", plainVblade, ofTarget}, {"our target", plainAoe, ofTarget},
		{"our client on vblade", benchVblade, ofClient}, {"our client on ours", benchAoe, ofClient},
	}
	var titles []string
	for _, side := range sides {
		titles = append(titles, side.title)
	}
	p.rows(titles, func(workload, column int) string {
		side := sides[column]
		return fmt.Sprintf("%.1f", float64(t.cost(workload, side.contestant, side.of))/1e3)
	})
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

// rows prints a table in Markdown with a row for each workload.
func (p *printer) rows(columns []string, value func(workload, column int) string) {
	p.printf("| workload | %s |\n|---|%s", strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for i, w := range workloads {
		p.printf("\n| %v |", w)
		for j := range columns {
			p.printf(" %s |", value(i, j))
		}
	}
}
