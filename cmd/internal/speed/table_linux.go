package main

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
)

// A table collects samples of a suite by workload and contestant.
type table struct {
	suite
	samples map[cell][]sample
	lost    map[string]uint64
	peak    string // most resident memory of suite.memory
}

type cell struct {
	workload   int
	contestant string
}

func newTable(s suite) *table { return &table{suite: s, samples: map[cell][]sample{}} }

func (t *table) add(workload int, contestant string, s sample) {
	c := cell{workload, contestant}
	t.samples[c] = append(t.samples[c], s)
}

// rates are the samples' rates in order of the rounds.
func (t *table) rates(workload int, contestant string) []float64 {
	return t.each(workload, contestant, func(s sample) float64 { return s.perSecond })
}

func (t *table) each(workload int, contestant string, of func(sample) float64) []float64 {
	var v []float64
	for _, s := range t.samples[cell{workload, contestant}] {
		v = append(v, of(s))
	}
	return v
}

// ratios are those of the same round.
func (t *table) ratios(workload int, a, b string) []float64 {
	x, y := t.rates(workload, a), t.rates(workload, b)
	var v []float64
	for i := range x {
		v = append(v, x[i]/y[i])
	}
	return v
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// spread shows the median, and the least and the most, with three digits that
// mean something.
func spread(v []float64) string {
	m := median(v)
	digits := 1
	for x := m; x < 10 && digits < 5; x *= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, m, digits, slices.Min(v), digits, slices.Max(v))
}

// print prints the table. how is how it was measured.
func (t *table) print(w io.Writer, how string) error {
	p := &printer{w: w}
	unit, each := "thousands of requests", func(workload) float64 { return 1e-3 }
	if t.megabytes {
		unit, each = "millions of bytes", func(w workload) float64 { return float64(w.size) * 1e-6 }
	}
	p.printf("## %s\n\n%s.\n\n%s. %s a second: median (least-most) of the rounds.\n\n",
		t.name, upper(t.about), how, upper(unit))
	t.rows(p, titles(t.contestants, func(c contestant) string { return c.name }), func(workload, column int) string {
		v := t.rates(workload, t.contestants[column].name)
		for i := range v {
			v[i] *= each(t.workloads[workload])
		}
		return spread(v)
	})
	p.printf("\n\nRatios in the same round, likewise; above 1 the first is faster.\n\n")
	t.rows(p, titles(t.comparisons, func(c comparison) string { return c.title }), func(workload, column int) string {
		c := t.comparisons[column]
		return spread(t.ratios(workload, c.a, c.b))
	})
	p.printf("\n\nProcessor time per request in microseconds, user and system, median.\n\n")
	t.rows(p, titles(t.costs, func(c cost) string { return c.title }), func(workload, column int) string {
		c := t.costs[column]
		return fmt.Sprintf("%.1f", median(t.each(workload, c.contestant, c.of))/1e3)
	})
	p.printf("\n\n")
	if len(t.counts) > 0 {
		p.printf("How often for each request, median.\n\n")
		t.rows(p, titles(t.counts, func(c cost) string { return c.title }), func(workload, column int) string {
			c := t.counts[column]
			return fmt.Sprintf("%.2f", median(t.each(workload, c.contestant, c.of)))
		})
		p.printf("\n\n")
	}
	if t.peak != "" {
		p.printf("Most resident memory of our target: %s\n\n", t.peak)
	}
	for _, name := range slices.Sorted(maps.Keys(t.lost)) {
		if n := t.lost[name]; n > 0 {
			p.printf("%d requests of %q were never answered: it went on with fewer in flight.\n\n", n, name)
		}
	}
	return p.err
}

// conditions are how the rounds were.
func conditions(cfg config) string {
	return fmt.Sprintf("%d rounds of %v, %s/%s, %s", cfg.rounds, cfg.length, runtime.GOOS, runtime.GOARCH, whereWhat())
}

func titles[T any](all []T, of func(T) string) []string {
	var s []string
	for _, x := range all {
		s = append(s, of(x))
	}
	return s
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// rows prints a table in Markdown with a row for each workload.
func (t *table) rows(p *printer, columns []string, value func(workload, column int) string) {
	p.printf("| workload | %s |\n|---|%s", strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for i, w := range t.workloads {
		p.printf("\n| %v |", w)
		for j := range columns {
			p.printf(" %s |", value(i, j))
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
