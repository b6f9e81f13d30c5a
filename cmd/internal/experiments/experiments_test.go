package experiments

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aoe/reserve/model"
)

// verdicts is what the experiments are known to find. Where a hypothesis holds
// only in part, the finding is the news, and TestDifferences says which.
var verdicts = map[string]Verdict{
	"E1": Partly, "E2": Holds, "E3": Holds, "E4": Holds, "E5": Partly, "E6": Holds,
	"E7": Holds, "E8": Holds, "E9": Holds, "E10": Partly, "E11": Partly, "E12": Holds, "E13": Partly, "E14": Holds, "E15": Holds, "E18": Holds, "ablation": Partly, "seeds": Holds, "several": Holds, "fabric": Partly,
}

const testSeeds = 25

func results(t *testing.T) map[string]Result {
	t.Helper()
	all := map[string]Result{}
	for _, e := range Usual() {
		r, err := e.Run(context.Background(), Options{Seeds: testSeeds})
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name] = r
	}
	return all
}

func TestExperiments(t *testing.T) {
	all := results(t)
	for _, e := range Usual() {
		r := all[e.Name]
		told(t, e, r)
		if r.Verdict != verdicts[e.Name] {
			t.Errorf("%s %s, want %s: %q", e.Name, r.Verdict, verdicts[e.Name], r.Differs)
		}
	}
	for name, part := range map[string]string{
		"E1": "polyakov was expected to live", "E5": "phillips-posted: 0 dead states",
		"E10": "ours-t2 needs 2", "E11": "1 set aside, kept false: 0 dead", "ablation": "without the filter nothing is dead",
		"E13": "frames were sent again", "fabric": "256 initiators of one target",
	} {
		if !strings.Contains(strings.Join(all[name].Differs, "\n"), part) {
			t.Errorf("%s differs in %q, want %q among it", name, all[name].Differs, part)
		}
	}
}

// told checks that everything is there that somebody wants to read.
func told(t *testing.T, e Experiment, r Result) {
	t.Helper()
	if e.Title == "" || e.Question == "" || e.Setup == "" || e.Hypothesis == "" || e.Criterion == "" || len(r.Finding) == 0 || len(r.Tables) == 0 || len(r.Charts) == 0 {
		t.Errorf("%s is not told completely", e.Name)
	}
	for _, table := range r.Tables {
		for _, row := range table.Rows {
			if len(row) != len(table.Columns) {
				t.Errorf("%s, %s: a row of %d cells under %d columns", e.Name, table.Title, len(row), len(table.Columns))
			}
		}
	}
	for _, c := range r.Charts {
		svg, err := c.SVG()
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		wellFormed(t, e.Name, svg)
	}
}

func wellFormed(t *testing.T, name string, text []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: the picture is not XML: %v", name, err)
			return
		}
	}
}

// TestSameSeedsSameResult, and other seeds another, where seeds are used.
func TestSameSeedsSameResult(t *testing.T) {
	for _, name := range []string{"E4", "E9", "E18", "seeds", "several"} {
		e, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		run := func(first uint64) string {
			r, err := e.Run(context.Background(), Options{Seeds: 10, First: first})
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if a, b, c := run(1), run(1), run(1000); a != b || a == c {
			t.Errorf("%s: the same seeds give the same: %v; others: %v", name, a == b, a == c)
		}
	}
}

// TestVerdictsAreComputed: an experiment whose expectation is wrong says so. It
// is the canary of this package.
func TestVerdictsAreComputed(t *testing.T) {
	found, err := searchThese(model.Retained, "none", "wiki")
	if err != nil {
		t.Fatal(err)
	}
	right := expect(found, func(n string) bool { return n == "none" })
	wrong := expect(found, func(n string) bool { return n == "wiki" })
	if judge(right, 2) != Holds || judge(wrong, 2) != Fails || judge(wrong[:1], 2) != Partly {
		t.Errorf("right: %q, wrong: %q", right, wrong)
	}
}

func TestFind(t *testing.T) {
	for _, name := range []string{"E10", "e10", "10"} {
		if e, err := Find(name); err != nil || e.Name != "E10" {
			t.Errorf("%s is %q, %v", name, e.Name, err)
		}
	}
	if _, err := Find("E99"); err == nil || !strings.Contains(err.Error(), "E12") {
		t.Errorf("E99, which there is not: %v", err)
	}
	names := map[string]bool{}
	for _, e := range All() {
		if names[e.Name] {
			t.Errorf("there are two of %s", e.Name)
		}
		names[e.Name] = true
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, name := range []string{"E2", "E9", "E12", "E13", "E15", "E18", "seeds", "several", "fabric"} {
		e, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Run(ctx, Options{Seeds: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReport: one page that asks the network for nothing, all pictures in it,
// and the same as JSON.
func TestReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	var named []string
	// The longest are left out: how they are told is tested above.
	chosen := slices.DeleteFunc(Usual(), func(e Experiment) bool { return slices.Contains([]string{"E13", "E15", "fabric"}, e.Name) })
	r, err := Make(context.Background(), chosen, Options{Seeds: 5}, "test", func(name string) { named = append(named, name) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	if len(named) != len(chosen) {
		t.Errorf("progress was told of %v", named)
	}
	html, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(html), "http://www.w3.org/", "")
	for _, bad := range []string{"http:", "https:", "src=", "<link", "@import", "url(", "<script", "<no value>", "ZgotmplZ"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	charts := 0
	for _, e := range r.Entries {
		charts += len(e.Result.Charts)
		if !strings.Contains(text, `id="`+strings.ToLower(e.Name)+`"`) {
			t.Errorf("%s is not in the page", e.Name)
		}
	}
	if got := strings.Count(text, "<svg"); got != charts {
		t.Errorf("%d pictures in the page, want %d", got, charts)
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(pictures) != charts {
		t.Errorf("%d pictures beside it, want %d: %v", len(pictures), charts, err)
	}
	text2, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text2, &back); err != nil || len(back.Entries) != len(r.Entries) || len(back.Matrix) != len(model.Lineage()) {
		t.Errorf("JSON: %v, %d experiments, %d policies", err, len(back.Entries), len(back.Matrix))
	}
	i := slices.IndexFunc(back.Matrix, func(f Fate) bool { return f.Name == "none" })
	if i < 0 || back.Matrix[i].Unread != (Share{Dead: 29, States: 85}) {
		t.Errorf("none under the flood: %+v", back.Matrix)
	}
}

// TestPrint: everything that was found is in the text.
func TestPrint(t *testing.T) {
	e, err := Find("E11")
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Run(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Print(&b, e, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"E11  The sent frame", "Hypothesis: ", "Verdict: the hypothesis holds in part.", "differs: 1 set aside"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}
