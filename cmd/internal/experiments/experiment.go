package experiments

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// An Experiment is one question.
type Experiment struct {
	Name       string `json:"name"` // E1
	Title      string `json:"title"`
	Question   string `json:"question"`
	Setup      string `json:"setup"`
	Hypothesis string `json:"hypothesis"`
	Criterion  string `json:"criterion"`
	Seeds      bool   `json:"seeds"` // it is a simulation, and takes seeds

	// Costs is what it takes of the machine that it is run on, if it is measured there
	// and no simulation: it is then run only when it is asked for by name.
	Costs string `json:"costs,omitempty"`

	run func(context.Context, Options) (Result, error)
}

// Options are what a run can be told.
type Options struct {
	// Seeds is how many seeded walks each measurement takes. Zero or less
	// means 200.
	Seeds int

	// First is the first seed. The others follow it.
	First uint64

	// Tell is told how those get on that take minutes. Nil tells nobody.
	Tell func(string)
}

const defaultSeeds = 200

// A Verdict is what became of the hypothesis.
type Verdict string

// The verdicts.
const (
	Holds  Verdict = "holds"
	Partly Verdict = "holds in part"
	Fails  Verdict = "does not hold"
)

// A Result is what a run found.
type Result struct {
	Verdict Verdict  `json:"verdict"`
	Finding []string `json:"finding"`           // what it means, a paragraph each
	Differs []string `json:"differs,omitempty"` // where reality differs from the hypothesis
	Tables  []Table  `json:"tables,omitempty"`
	Stories []string `json:"stories,omitempty"` // ways to die, in words
	Charts  []Chart  `json:"charts,omitempty"`
}

// A Table is rows of cells under columns.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// A Chart is what is plotted: bars, lines or a field of squares.
type Chart struct {
	Title  string   `json:"title"`
	X      string   `json:"x"` // what the axes are
	Y      string   `json:"y"`
	LogX   bool     `json:"logX,omitempty"`
	Bars   []Bar    `json:"bars,omitempty"`
	Lines  []Line   `json:"lines,omitempty"`
	Fields []Square `json:"fields,omitempty"`
}

// A Bar is a named value.
type Bar struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Good  bool    `json:"good"`
}

// A Line is a named series of points.
type Line struct {
	Name string    `json:"name"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
}

// A Square is one point of a phase diagram.
type Square struct {
	X    float64 `json:"x"`
	Y    float64 `json:"y"`
	Good bool    `json:"good"`
}

// All is every experiment that can be run.
func All() []Experiment {
	return []Experiment{
		allDirty(), unreadFlood(), readFlood(), pools(), phillips(), grouped(),
		separate(), protocolList(), throttle(), phases(), keptFrame(), recovery(), buffers(), forged(), deadTarget(),
		stoppedReader(), kernelOrOurs(), soak(), ablation(), seeds(), several(), crowds(),
	}
}

// Usual is those that need nothing and give the same on every machine.
func Usual() []Experiment {
	return slices.DeleteFunc(All(), func(e Experiment) bool { return e.Costs != "" })
}

// Kind is how an experiment finds what it finds, in a word.
func (e Experiment) Kind() string {
	switch {
	case e.Costs != "":
		return "measured"
	case e.Seeds:
		return "simulation"
	}
	return "search"
}

// Find is the experiment of that name, in any case: E2, e2 or 2.
func Find(name string) (Experiment, error) {
	all := All()
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.Name
		if strings.EqualFold(e.Name, name) || e.Name[1:] == name {
			return e, nil
		}
	}
	return Experiment{}, fmt.Errorf("there is no experiment %q: the lab has %s", name, strings.Join(names, ", "))
}

// Run answers the question.
func (e Experiment) Run(ctx context.Context, o Options) (Result, error) {
	if o.Seeds <= 0 {
		o.Seeds = defaultSeeds
	}
	r, err := e.run(ctx, o)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", e.Name, err)
	}
	return r, nil
}

// An inquiry is a Result in the making.
type inquiry struct {
	Result
	checks int // of what is expected, also those that came true
}

// check compares with what is expected, and says in words what is not so.
func (q *inquiry) check(ok bool, format string, args ...any) {
	q.checks++
	if !ok {
		q.Differs = append(q.Differs, fmt.Sprintf(format, args...))
	}
}

// judge comes to the verdict, after all checks.
func (q *inquiry) judge() { q.Verdict = judge(q.Differs, q.checks) }

// judge is the verdict of so many checks, of which some may have failed.
func judge(differs []string, checks int) Verdict {
	switch {
	case len(differs) == 0:
		return Holds
	case len(differs) < checks:
		return Partly
	}
	return Fails
}
