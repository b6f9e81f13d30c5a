package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSmallBinaryIsKnown by the build tag that it records of itself.
func TestSmallBinaryIsKnown(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module small\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		tags string
		want bool
	}{{"", false}, {"other", false}, {"noreport", true}, {"other,noreport", true}} {
		out := filepath.Join(dir, "small")
		build := exec.CommandContext(t.Context(), "go", "build", "-tags="+row.tags, "-o", out, ".")
		build.Dir = dir
		build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		if got := hasNoReport(out); got != row.want {
			t.Errorf("built with -tags=%s: %v", row.tags, got)
		}
	}
	if hasNoReport(filepath.Join(dir, "main.go")) {
		t.Error("a source file passes for a binary without reports")
	}
}
