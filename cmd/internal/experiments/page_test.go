//go:build !noreport

package experiments

import (
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"

	"aoe/cmd/internal/browser/browsertest"
)

// TestPlainTicks: no zeros that say nothing, which the usual ones have.
func TestPlainTicks(t *testing.T) {
	idle := func(ticks []plot.Tick) (n int) {
		for _, tick := range ticks {
			if strings.Contains(tick.Label, ".") && strings.HasSuffix(tick.Label, "0") {
				n++
			}
		}
		return n
	}
	usual := 0
	for most := 0.05; most < 1e4; most *= 1.1 {
		usual += idle(plot.DefaultTicks{}.Ticks(0, most))
		ticks := plainTicks{}.Ticks(0, most)
		if n := idle(ticks); n > 0 {
			t.Errorf("up to %v: %v", most, ticks)
		}
		for _, tick := range ticks {
			if v, err := strconv.ParseFloat(tick.Label, 64); tick.Label != "" && (err != nil || math.Abs(v-tick.Value) > most/1000) {
				t.Errorf("up to %v: %v is called %q", most, tick.Value, tick.Label)
			}
		}
	}
	if usual == 0 {
		t.Error("the usual ones have none either")
	}
}

// TestReportInBrowser: the report as people open it, from a directory.
func TestReportInBrowser(t *testing.T) {
	b := browsertest.Start(t)
	// All but the one that takes longer than the others together.
	chosen := slices.DeleteFunc(Usual(), func(e Experiment) bool { return e.Name == "fabric" })
	r, err := Make(t.Context(), chosen, Options{Seeds: 3}, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	page := "file://" + filepath.ToSlash(filepath.Join(dir, "index.html"))
	browsertest.Test(t, b, browsertest.Page{
		URL: page, Ready: `document.querySelectorAll("figure svg").length > 3`,
		Mine: func(url string) bool { return url == page },
	})
}
