package guest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"aoe/cmd/internal/show"
	"aoe/reserve/harden"
)

// A Mechanism is one of the things that are to keep the machine alive, and how
// aoe attach is told to do without it.
type Mechanism struct {
	Name   string
	Attach []string
}

// Nothing is what an ablation begins with: all mechanisms are on.
const Nothing = "nothing"

// Mechanisms are all that can be left out, one at a time. What belongs to the
// frames' buffers (admission at once, exchange, keeping what was sent) cannot: it
// is not a step but how the code is made, and the mutation tests of packages reserve
// and initiator/engine show what happens without.
func Mechanisms() []Mechanism {
	all := []Mechanism{
		{Nothing, nil},
		{"guard", []string{"--guard=false"}},
		{"filter", []string{"--swap-safe-without", "filter"}},
	}
	for _, name := range harden.Names() {
		all = append(all, Mechanism{name, []string{"--swap-safe-without", name}})
	}
	return all
}

// FindMechanisms finds them by name, behind Nothing.
func FindMechanisms(names []string) ([]Mechanism, error) {
	all := Mechanisms()
	found := all[:1:1]
	for _, name := range names {
		i := slices.IndexFunc(all, func(m Mechanism) bool { return m.Name == name })
		switch {
		case name == "all":
			return all, nil
		case i < 0:
			var known []string
			for _, m := range all[1:] {
				known = append(known, m.Name)
			}
			return nil, fmt.Errorf("guest: there is no mechanism %q to leave out: want all, or some of %s", name, strings.Join(known, ", "))
		case i > 0:
			found = append(found, all[i])
		}
	}
	return found, nil
}

// An Ablation is how the same recipe came out without one mechanism at a time.
type Ablation struct {
	Kernel string        `json:"kernel"`
	What   string        `json:"what"` // the recipe with all of them, in words
	Rows   []AblationRow `json:"rows"`
}

// An AblationRow is how it came out without one.
type AblationRow struct {
	Without string  `json:"without"`
	Report  *Report `json:"report"`
}

// Ablate runs the series once for each mechanism, without it. When it is
// interrupted, the ablation has what had ended.
func (k *Kernel) Ablate(ctx context.Context, s Series, without []Mechanism) (*Ablation, error) {
	recipe, err := s.Recipe.withDefaults()
	if err != nil {
		return nil, err
	}
	if recipe.Initiator == "kernel" {
		return nil, fmt.Errorf("guest: Linux's own driver has none of our mechanisms to leave out: want another initiator")
	}
	a := &Ablation{Kernel: k.Release, What: recipe.String()}
	tell := s.Tell
	for _, m := range without {
		s.Recipe = recipe
		s.Recipe.Attach = slices.Concat(recipe.Attach, m.Attach)
		if tell != nil {
			s.Tell = func(run int, what string) { tell(run, "without "+m.Name+": "+what) }
		}
		report, err := k.RunSeries(ctx, s)
		if report != nil && len(report.Trials) > 0 {
			a.Rows = append(a.Rows, AblationRow{m.Name, report})
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// Print writes a line for each mechanism, and below them why runs failed.
func (a *Ablation) Print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "Linux %s, %s\n\n", a.Kernel, a.What); err != nil {
		return err
	}
	t := show.NewTable("without", ">survived", "outcomes", ">longest", ">pages in", ">worst stall")
	var why strings.Builder
	for _, row := range a.Rows {
		outcomes, longest, worst, in := row.sum()
		t.Row(row.Without, fmt.Sprintf("%d of %d", row.Report.Survived(), len(row.Report.Trials)), outcomes,
			show.Duration(longest.Round(time.Second)), show.Count(uint64(in)), show.Duration(worst))
		for _, tr := range row.Report.Trials {
			var b strings.Builder
			tr.explain(&b)
			if b.Len() > 0 {
				fmt.Fprintf(&why, "\nWithout %s:%s", row.Without, b.String())
			}
		}
	}
	if err := t.Print(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, why.String())
	return err
}

// sum puts a row's runs into words: "survived 2, hung 1".
func (r AblationRow) sum() (outcomes string, longest, worst time.Duration, pagesIn int64) {
	counts := map[Outcome]int{}
	var order []Outcome
	for _, t := range r.Report.Trials {
		if counts[t.Outcome]++; counts[t.Outcome] == 1 {
			order = append(order, t.Outcome)
		}
		longest, worst = max(longest, t.Took), max(worst, t.WorstStall)
		pagesIn += t.PagesIn
	}
	var words []string
	for _, o := range order {
		words = append(words, fmt.Sprintf("%s %d", o, counts[o]))
	}
	return strings.Join(words, ", "), longest, worst, pagesIn / int64(max(len(r.Report.Trials), 1))
}
