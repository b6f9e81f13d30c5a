package house

import (
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
