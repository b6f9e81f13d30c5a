//go:build !noreport

package experiments

import (
	"path/filepath"
	"slices"
	"testing"

	"aoe/cmd/internal/browser/browsertest"
)

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
