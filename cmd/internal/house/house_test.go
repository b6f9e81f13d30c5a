package house

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the top of the repository, seen from this package.
const root = "../../.."

// A pkg is what `go list -json` tells of one of our packages.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list printed what is not JSON: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 8 {
		t.Fatalf("go list found %d packages: the rules below would pass without looking at anything", len(all))
	}
	return all
}

// room is the top-level room of the house that a package of ours is in. The
// links are a room of their own: frame is pure, they are not.
func room(path string) string {
	rest, ok := strings.CutPrefix(path, "aoe/")
	if !ok {
		return ""
	}
	if rest == "frame/link" || strings.HasPrefix(rest, "frame/link/") {
		return "link"
	}
	top, _, _ := strings.Cut(rest, "/")
	return top
}

// mayImport is the one direction of imports:
// cmd -> target, initiator -> reserve, link -> frame.
var mayImport = map[string][]string{
	"frame":     {"frame"},
	"link":      {"link", "frame"},
	"reserve":   {"reserve"},
	"target":    {"target", "reserve", "link", "frame"},
	"initiator": {"initiator", "reserve", "link", "frame"},
	"cmd":       {"cmd", "target", "initiator", "reserve", "link", "frame"},
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s is outside the rooms of the house", p.ImportPath)
			continue
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if to := room(imp); to != "" && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %s may import only %v", p.ImportPath, imp, from, allowed)
			}
		}
	}
}

// TestFrameIsPure: the wire format knows no network, clock, file or log, so
// that it can be used, tested and fuzzed anywhere.
func TestFrameIsPure(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "aoe/frame" {
			continue
		}
		for _, imp := range p.Imports {
			switch top, _, _ := strings.Cut(imp, "/"); top {
			case "net", "os", "time", "log", "syscall", "unsafe", "io":
				t.Errorf("aoe/frame imports %s", imp)
			}
		}
	}
}

// TestOwnersDependenciesAreUsed: the packages that the owner named are not
// only listed in go.mod.
func TestOwnersDependenciesAreUsed(t *testing.T) {
	wanted := map[string]bool{
		"github.com/mdlayher/raw":      false,
		"github.com/mdlayher/ethernet": false,
		"github.com/mdlayher/aoe":      false,
		"golang.org/x/sys/unix":        false,
	}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if _, ok := wanted[imp]; ok {
				wanted[imp] = true
			}
		}
	}
	for name, used := range wanted {
		if !used {
			t.Errorf("%s is not imported by any package", name)
		}
	}
}

// A source is one parsed Go file of the repository.
type source struct {
	path  string // from the top of the repository
	lines int
	file  *ast.File
	fset  *token.FileSet
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 2 && d.Name()[0] == '.') {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(rel), strings.Count(string(text), "\n"), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d Go files: the rules below would pass without looking at anything", len(all))
	}
	return all
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	const maxFile, maxFunc = 500, 70
	for _, s := range sources(t) {
		if s.lines > maxFile && !s.isTest() {
			t.Errorf("%s has %d lines: more than %d is a smell", s.path, s.lines, maxFile)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.isTest() {
				continue
			}
			if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; n > maxFunc {
				t.Errorf("%s: %s has %d lines: at most %d", s.path, f.Name.Name, n, maxFunc)
			}
		}
	}
}

// TestSystemCallsLiveInNamedFiles: unsafe and the system call packages stand
// only in files whose name says the system they are for.
func TestSystemCallsLiveInNamedFiles(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, imp := range s.file.Imports {
			name := strings.Trim(imp.Path.Value, `"`)
			if name != "unsafe" && name != "syscall" && name != "golang.org/x/sys/unix" {
				continue
			}
			if !strings.HasSuffix(s.path, "_linux.go") && !strings.HasSuffix(s.path, "_unix.go") {
				t.Errorf("%s imports %s: put it in a file named *_linux.go or *_unix.go", s.path, name)
			}
		}
	}
}

// TestNoRoomWithoutAName: a package is named after what it is about.
func TestNoRoomWithoutAName(t *testing.T) {
	for _, s := range sources(t) {
		for _, bad := range []string{"util", "utils", "common", "types", "helpers", "misc", "shared", "base"} {
			if s.file.Name.Name == bad || strings.Contains("/"+s.path, "/"+bad+"/") {
				t.Errorf("%s: %q says nothing about what is in it", s.path, bad)
			}
		}
	}
}

// TestPublicThingsAreDocumented: every exported declaration outside cmd says
// what it is.
func TestPublicThingsAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.path, "cmd/") {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no doc comment", s.path, name)
			}
		}
	}
}

// undocumented lists the exported names that d declares without a comment.
// A comment on the group serves constants and variables in it. Methods that
// only satisfy an interface everybody knows need none.
func undocumented(d ast.Decl) []string {
	var names []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		wellKnown := d.Recv != nil && slices.Contains([]string{"String", "Error", "Unwrap", "Len", "Less", "Swap"}, d.Name.Name)
		if d.Name.IsExported() && d.Doc == nil && !wellKnown && exportedReceiver(d) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil {
					names = append(names, spec.Name.Name)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					names = append(names, spec.Names[0].Name)
				}
			}
		}
	}
	return names
}

// exportedReceiver reports whether f is a function, or a method of an
// exported type.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// TestEveryPackageHasAContract: doc comments of packages say how they are used
// and who owns what; there is exactly one per package.
func TestEveryPackageHasAContract(t *testing.T) {
	has := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		dir := filepath.Dir(s.path)
		has[dir] = has[dir] || s.file.Doc != nil
	}
	for dir, ok := range has {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// open lists the hazards and invariants whose test is owed by a later issue.
// It may only get shorter.
var open = map[string]string{}

// TestEveryHazardAndInvariantHasATest: H1 to H25 of the protocol and I1 to I14
// of the reserve each have at least one test named after them.
func TestEveryHazardAndInvariantHasATest(t *testing.T) {
	named := regexp.MustCompile(`^(?:Test|Fuzz)([HI][0-9]+)(?:[^0-9]|$)`)
	found := map[string]string{}
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if m := named.FindStringSubmatch(f.Name.Name); m != nil {
				found[m[1]] = s.path
			}
		}
	}
	var wanted []string
	for i := 1; i <= 25; i++ {
		wanted = append(wanted, fmt.Sprintf("H%d", i))
	}
	for i := 1; i <= 14; i++ {
		wanted = append(wanted, fmt.Sprintf("I%d", i))
	}
	for _, name := range wanted {
		_, ok := found[name]
		reason, owed := open[name]
		switch {
		case !ok && !owed:
			t.Errorf("%s has no test named after it (TestXxx%s...)", name, name)
		case ok && owed:
			t.Errorf("%s has a test in %s, but is still listed as open (%s)", name, found[name], reason)
		}
	}
}

// TestNoEmptyInterfaceInPublicSignatures: an empty interface hides what is
// passed.
func TestNoEmptyInterfaceInPublicSignatures(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.path, "cmd/") {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || !exportedReceiver(f) {
				continue
			}
			ast.Inspect(f.Type, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == "any" && id.Obj == nil {
					t.Errorf("%s: %s takes or returns any", s.path, f.Name.Name)
				}
				if it, ok := n.(*ast.InterfaceType); ok && it.Methods.NumFields() == 0 {
					t.Errorf("%s: %s takes or returns interface{}", s.path, f.Name.Name)
				}
				return true
			})
		}
	}
}

// TestNothingNamesThisMachine: no path of a developer's machine, and no host
// of a package registry, is in a file that is committed.
func TestNothingNamesThisMachine(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs a git checkout to know which files are ours: %v", err)
	}
	// Written in pieces, so that this file does not name them itself.
	bad := []string{"/work" + "/", "../sha" + "red", "proxy.golang" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org"}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		for _, b := range bad {
			if strings.Contains(string(text), b) {
				t.Errorf("%s names %q", name, b)
			}
		}
	}
}
