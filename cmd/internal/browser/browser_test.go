package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aoe/cmd/internal/browser"
	"aoe/cmd/internal/browser/browsertest"
)

// serve serves pages by their paths.
func serve(t *testing.T, pages map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!DOCTYPE html><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">`, text)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestGoodPage passes.
func TestGoodPage(t *testing.T) {
	b := browsertest.Start(t)
	url := serve(t, map[string]string{"/": `<style>body { color: #111; background: #fff }
		@media (prefers-color-scheme: dark) { body { color: #eee; background: #111 } }
		.scroll { overflow-x: auto } .long { width: 3000px }</style>
		<p>Text.</p><div class="scroll"><p class="long">It scrolls by itself.</p></div><script>document.title = "ready"</script>`})
	browsertest.Test(t, b, browsertest.Page{
		URL: url, Ready: `document.title == "ready"`,
		Mine: func(asked string) bool { return strings.HasPrefix(asked, url) },
	})
}

// TestJudge: what is wrong with a page is seen, or the tests of our pages could
// not fail.
func TestJudge(t *testing.T) {
	b := browsertest.Start(t)
	view := browsertest.Views[2].View // a phone
	for _, row := range []struct {
		name, page string
		seen       func(*browser.Tab, browser.Audit) bool
	}{
		{"too wide", `<p style="width: 600px">Text.</p>`, func(_ *browser.Tab, a browser.Audit) bool {
			return a.ScrollWidth > view.Width && len(a.Wide) == 1
		}},
		{"faint", `<p style="color: #999; background: #fff">Text.</p>`, func(_ *browser.Tab, a browser.Audit) bool {
			return len(a.Faint) == 1 && a.Worst > 2.8 && a.Worst < 2.9 // #999 on #fff: 2.85
		}},
		{"faint in a drawing", `<svg style="background: #fff"><text y="20" fill="#bbb">Text.</text></svg>`, func(_ *browser.Tab, a browser.Audit) bool {
			return len(a.Faint) == 1
		}},
		{"half transparent", `<div style="background: #000"><p style="background: rgba(255,255,255,.5); color: #808080">Text.</p></div>`, func(_ *browser.Tab, a browser.Audit) bool {
			return len(a.Faint) == 1
		}},
		{"a script fails", `<p>Text.</p><script>nothing.here()</script>`, func(tab *browser.Tab, _ browser.Audit) bool {
			return strings.Contains(fmt.Sprint(tab.Complaints()), "nothing is not defined")
		}},
		{"the console has an error", `<p>Text.</p><script>console.error("oh")</script>`, func(tab *browser.Tab, _ browser.Audit) bool {
			return strings.Contains(fmt.Sprint(tab.Complaints()), "oh")
		}},
		{"something is not there", `<p>Text.</p><img src="/none.png">`, func(tab *browser.Tab, _ browser.Audit) bool {
			return strings.Contains(fmt.Sprint(tab.Complaints()), "404")
		}},
		{"something from elsewhere", `<p>Text.</p><img src="http://elsewhere.invalid/a.png">`, func(tab *browser.Tab, _ browser.Audit) bool {
			return strings.Contains(fmt.Sprint(tab.Requests()), "http://elsewhere.invalid/a.png")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			tab, err := b.Open(serve(t, map[string]string{"/": row.page}), view)
			if err != nil {
				t.Fatal(err)
			}
			a, err := tab.Audit()
			if err != nil {
				t.Fatal(err)
			}
			if !row.seen(tab, a) {
				t.Errorf("not seen: %+v, complaints %q, requests %q", a, tab.Complaints(), tab.Requests())
			}
		})
	}
}

// TestCloseLeavesNothing, and a browser that was closed says so.
func TestCloseLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b, err := browser.Start()
	if err == nil {
		_, err = b.Open("about:blank", browser.View{Width: 390, Height: 844})
	} else {
		browsertest.Start(t) // skips
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := b.Open("about:blank", browser.View{Width: 390, Height: 844}); err == nil {
		t.Error("a page was opened in a browser that has ended")
	}
}
