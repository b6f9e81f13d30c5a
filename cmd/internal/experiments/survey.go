package experiments

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"aoe/reserve/model"
)

// keptBack is the pages that applications may not have in the machine of the
// experiments: none, but where a policy is known to need them.
func keptBack(p model.Policy) int {
	if p.Guard {
		return 2
	}
	return 0
}

// worldOf is the machine of the golden table under a policy.
func worldOf(p model.Policy, f model.Flood) model.World {
	return model.World{Pages: model.GoldenPages, Policy: p, Flood: f, Watermark: keptBack(p)}
}

// title is a policy's title, with what it is given besides.
func title(p model.Policy) string {
	if n := keptBack(p); n > 0 {
		return fmt.Sprintf("%s, %d pages kept back", p.Title, n)
	}
	return p.Title
}

// survey searches every policy of the lineage under one flood.
func survey(ctx context.Context, f model.Flood) ([]model.Verdict, error) {
	var all []model.Verdict
	for _, p := range model.Lineage() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all = append(all, worldOf(p, f).Search())
	}
	return all, nil
}

// searched is the table and the chart of a survey.
func searched(caption string, verdicts []model.Verdict) (Table, Chart) {
	t := Table{Title: caption, Columns: []string{"policy", "states", "dead", "shortest way to die"}}
	c := Chart{Title: caption, X: "dead states, % of those reached", Y: ""}
	for _, v := range verdicts {
		way := model.Ways(v.Way)
		t.Rows = append(t.Rows, []string{title(v.World.Policy), strconv.Itoa(v.States), strconv.Itoa(v.Dead), way})
		c.Bars = append(c.Bars, Bar{v.World.Policy.Name, 100 * float64(v.Dead) / float64(v.States), v.Dead == 0})
	}
	return t, c
}

// expect compares which policies die with which were expected to.
func expect(verdicts []model.Verdict, dies func(name string) bool) (differs []string) {
	for _, v := range verdicts {
		name := v.World.Policy.Name
		switch {
		case dies(name) && v.Dead == 0:
			differs = append(differs, fmt.Sprintf("%s was expected to die, and none of its %d states is dead", name, v.States))
		case !dies(name) && v.Dead > 0:
			differs = append(differs, fmt.Sprintf("%s was expected to live, and %d of its %d states are dead", name, v.Dead, v.States))
		case !dies(name) && v.Stuck > 0:
			differs = append(differs, fmt.Sprintf("%s lives only as long as foreign frames keep arriving: %d states", name, v.Stuck))
		}
	}
	return differs
}

// story is a verdict in words.
func story(v model.Verdict) (string, error) {
	var b strings.Builder
	err := v.Story(&b)
	return b.String(), err
}

// stories tells those that die.
func stories(verdicts []model.Verdict, names ...string) ([]string, error) {
	var all []string
	for _, name := range names {
		for _, v := range verdicts {
			if v.World.Policy.Name != name {
				continue
			}
			s, err := story(v)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// pick is the policies of these names, which are the lineage's.
func pick(names ...string) ([]model.Policy, error) {
	var all []model.Policy
	for _, name := range names {
		p, ok := model.Find(name)
		if !ok {
			return nil, fmt.Errorf("no policy is called %q", name)
		}
		all = append(all, p)
	}
	return all, nil
}

// searchThese searches the policies of these names.
func searchThese(f model.Flood, names ...string) ([]model.Verdict, error) {
	policies, err := pick(names...)
	if err != nil {
		return nil, err
	}
	var all []model.Verdict
	for _, p := range policies {
		all = append(all, worldOf(p, f).Search())
	}
	return all, nil
}
