package house

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProtocolNamesTestsThatExist: docs/PROTOCOL.md says which test covers what,
// and a test that was renamed covers nothing. A name may end in a star.
func TestProtocolNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	var exist []string
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.isTest() {
				exist = append(exist, f.Name.Name)
			}
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)(\\*?)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 30 {
		t.Fatalf("PROTOCOL.md names %d tests: this test looks for something else than it writes", len(named))
	}
	for _, m := range named {
		found := false
		for _, name := range exist {
			found = found || name == m[1] || m[2] == "*" && strings.HasPrefix(name, m[1])
		}
		if !found {
			t.Errorf("PROTOCOL.md names %s, which does not exist", m[0])
		}
	}
}

// TestEveryHazardHasATest: each of the hazards has a row in docs/PROTOCOL.md and
// a test that is named after it.
func TestEveryHazardHasATest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	hazard := regexp.MustCompile(`^Test(H[0-9]+)[A-Z]`)
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.isTest() {
				if m := hazard.FindStringSubmatch(f.Name.Name); m != nil {
					tested[m[1]] = true
				}
			}
		}
	}
	for n := 1; n <= 25; n++ {
		h := fmt.Sprintf("H%d", n)
		if !tested[h] {
			t.Errorf("no test is named Test%s...", h)
		}
		if !strings.Contains(string(text), "\n| "+h+" |") {
			t.Errorf("PROTOCOL.md has no row for %s", h)
		}
	}
}
