// Package browsertest starts a browser for a test, and holds what every page of
// ours is tested for.
package browsertest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aoe/cmd/internal/browser"
)

// Start starts a browser that ends with the test. Where there is none, the test
// is skipped.
func Start(t *testing.T) *browser.Browser {
	t.Helper()
	b, err := browser.Start()
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Views are those that a page has to be good in.
var Views = []struct {
	Name string
	browser.View
}{
	{"desktop", browser.View{Width: 1280, Height: 900}},
	{"desktop, dark", browser.View{Width: 1280, Height: 900, Dark: true}},
	{"phone", browser.View{Width: 390, Height: 844, Phone: true}},
	{"phone, dark", browser.View{Width: 390, Height: 844, Phone: true, Dark: true}},
}

// A Page is one to be tested.
type Page struct {
	URL string
	// Ready is a JavaScript expression that holds when there is something to
	// look at. Empty: at once.
	Ready string
	// Mine reports whether the page may ask for a URL.
	Mine func(url string) bool
}

// Test opens the page in every view: nothing complains, nothing foreign is asked
// for, it is no wider than what it is seen with, its text can be read, and dark is
// another colour than light. With AOE_SCREENSHOTS in the environment, pictures are
// written into that directory.
func Test(t *testing.T, b *browser.Browser, p Page) {
	t.Helper()
	light := map[bool]browser.Audit{} // by whether it is a phone
	for _, v := range Views {
		tab, err := b.Open(p.URL, v.View)
		if err == nil && p.Ready != "" {
			err = tab.Wait(p.Ready)
		}
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		a, err := tab.Audit()
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if a.ScrollWidth > v.Width || a.Width > v.Width || len(a.Wide) > 0 {
			t.Errorf("%s: %d pixels wide, of which %d are seen: %q", v.Name, a.ScrollWidth, a.Width, a.Wide)
		}
		if a.Texts == 0 || len(a.Faint) > 0 {
			t.Errorf("%s: of %d texts these cannot be read: %q", v.Name, a.Texts, a.Faint)
		}
		t.Logf("%s: %d texts, the worst contrast is %.1f", v.Name, a.Texts, a.Worst)
		if !v.Dark {
			light[v.Phone] = a
		} else if l := light[v.Phone]; l.Ground == a.Ground || l.Text == a.Text {
			t.Errorf("%s: %s on %s, as when it is not dark", v.Name, a.Text, a.Ground)
		}
		if c := tab.Complaints(); len(c) > 0 {
			t.Errorf("%s: complaints: %q", v.Name, c)
		}
		asked := 0
		for _, url := range tab.Requests() {
			if !p.Mine(url) {
				t.Errorf("%s: asked for %s", v.Name, url)
			}
			asked++
		}
		if asked == 0 {
			t.Errorf("%s: not even the page was asked for: the test sees no requests", v.Name)
		}
		if dir := os.Getenv("AOE_SCREENSHOTS"); dir != "" {
			name := strings.NewReplacer("/", "-", ", ", "-").Replace(t.Name() + "-" + v.Name)
			if err := tab.Screenshot(filepath.Join(dir, name+".png")); err != nil {
				t.Error(err)
			}
		}
	}
}
