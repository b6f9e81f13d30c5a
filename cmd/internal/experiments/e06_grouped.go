package experiments

import (
	"context"
	"fmt"

	"aoe/reserve/model"
)

const mostObjects = 6

// grouped is E6.
func grouped() Experiment {
	return Experiment{
		Name: "E6", Title: "Grouped pages, by the order of frees",
		Question:   "Zijlstra's reserve of 2006-08 put all that belongs to a frame on one page. When does the page come back?",
		Setup:      fmt.Sprintf("A page with up to %d objects, freed in every order there is; and the machine of E2 with such pages, 2 and 128 of them.", mostObjects),
		Hypothesis: "As posted a page comes back only if its objects are freed in exact reverse order, 1 of n!; as fixed always. As posted the reserve leaks until the machine dies.",
		Criterion:  "Those numbers; dead states as posted, none as fixed, also with 128 receive and 352 transmit pages.",
		run:        runGrouped,
	}
}

func runGrouped(context.Context, Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Orders of frees after which the page comes back", Columns: []string{"objects", "orders", "as posted", "as fixed"}}
	posted, fixed := Line{Name: "as posted"}, Line{Name: "as fixed"}
	all := 1
	for n := 1; n <= mostObjects; n++ {
		all *= n
		a, orders := model.Grouped{Objects: n}.FreeOrders()
		b, _ := model.Grouped{Objects: n, AnyOrder: true}.FreeOrders()
		r.check(orders == all && a == 1 && b == all, "%d objects: %d and %d of %d orders", n, a, b, orders)
		t.Rows = append(t.Rows, []string{fmt.Sprint(n), fmt.Sprint(orders), fmt.Sprint(a), fmt.Sprint(b)})
		posted.X, posted.Y = append(posted.X, float64(n)), append(posted.Y, 100*float64(a)/float64(orders))
		fixed.X, fixed.Y = append(fixed.X, float64(n)), append(fixed.Y, 100*float64(b)/float64(orders))
	}
	verdicts, err := searchThese(model.Retained, "zijlstra-posted", "zijlstra", "zijlstra-full")
	if err != nil {
		return r.Result, err
	}
	quiet, err := searchThese(model.NoFlood, "zijlstra-posted")
	if err != nil {
		return r.Result, err
	}
	for _, v := range verdicts {
		name := v.World.Policy.Name
		r.check((v.Dead > 0) == (name == "zijlstra-posted"), "%s: %d dead", name, v.Dead)
	}
	table, _ := searched("Under the flood of E2", verdicts)
	r.Tables = []Table{t, table}
	r.Charts = []Chart{{Title: t.Title, X: "objects on the page", Y: "% of orders", Lines: []Line{posted, fixed}}}
	r.judge()
	r.Finding = []string{
		fmt.Sprintf("The leak needs no flood: with none, %d of %d states are dead as posted, because replies too are freed in some order.", quiet[0].Dead, quiet[0].States),
		"A larger reserve only leaks for longer. Fixed, two pages do what 128 do, as far as deadlock is concerned; the others buy speed.",
	}
	r.Stories, err = stories(verdicts, "zijlstra-posted")
	return r.Result, err
}
