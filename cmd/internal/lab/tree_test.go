package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plant makes a small tree: files in directories, an empty one, a link.
func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a": "alpha", "sub/b": strings.Repeat("beta", 10_000), "sub/deep/c": "", "z": "omega",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/b", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func ignore(int64) {}

func copied(t *testing.T) (Manifest, string) {
	t.Helper()
	src, dst := plant(t), t.TempDir()
	m, err := Survey(t.Context(), src, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 5 {
		t.Fatalf("surveyed %d files, want 5", len(m.Files))
	}
	total := int64(0)
	if err := m.Copy(t.Context(), src, dst, func(n int64) { total += n }); err != nil {
		t.Fatal(err)
	}
	if total != m.Bytes || total != 40_000+5+5+5 {
		t.Errorf("progress told of %d bytes, the manifest has %d", total, m.Bytes)
	}
	return m, dst
}

// TestEveryChangeIsFound: the check that judges the lab's run is itself judged,
// by everything that a bad disk could do to a file.
func TestEveryChangeIsFound(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(dir string) error
		want   string // "" means that nothing is wrong
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"one bit", func(d string) error { return flip(filepath.Join(d, "sub/b"), 39_999) }, "sub/b has digest"},
		{"one byte short", func(d string) error { return os.Truncate(filepath.Join(d, "a"), 4) }, "a has 4 bytes, want 5"},
		{"grown", func(d string) error { return os.WriteFile(filepath.Join(d, "sub/deep/c"), []byte("x"), 0o600) }, "sub/deep/c has 1 bytes, want 0"},
		{"gone", func(d string) error { return os.Remove(filepath.Join(d, "z")) }, "no such file"},
		{"link elsewhere", func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "link")), os.Symlink("sub/c", filepath.Join(d, "link")))
		}, "link has digest"},
		{"everything", os.RemoveAll, "5 of 5 files"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, dst := copied(t)
			if err := row.damage(dst); err != nil {
				t.Fatal(err)
			}
			err := m.Verify(t.Context(), dst, ignore)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("verify: %v; want %q", err, row.want)
			}
		})
	}
}

func flip(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o600)
}

func TestSurveyStopsWhereTheImageIsFull(t *testing.T) {
	m, err := Survey(t.Context(), plant(t), 20_000)
	if err != nil {
		t.Fatal(err)
	}
	if m.Bytes > 20_000 || len(m.Files) == 0 {
		t.Errorf("%d files with %d bytes for an image of 20000", len(m.Files), m.Bytes)
	}
	if _, err := Survey(t.Context(), t.TempDir(), 1<<20); err == nil {
		t.Error("an empty tree is accepted: a run over it would prove nothing")
	}
}

func TestCopyAndVerifyCanBeInterrupted(t *testing.T) {
	m, dst := copied(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Verify(ctx, dst, ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("verify: %v, want canceled", err)
	}
	if err := m.Copy(ctx, dst, t.TempDir(), ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("copy: %v, want canceled", err)
	}
}

func TestFindTree(t *testing.T) {
	if got, err := FindTree("/somewhere"); got != "/somewhere" || err != nil {
		t.Errorf("FindTree(/somewhere) = %s, %v", got, err)
	}
	got, err := FindTree("")
	if err != nil || !isDir(got) {
		t.Errorf("FindTree() = %s, %v", got, err)
	}
}

// TestCleanupRunsBackwardsAndThroughErrors: what was made last goes first, one
// failure does not leave the rest behind, and being interrupted does not either.
func TestCleanupRunsBackwardsAndThroughErrors(t *testing.T) {
	var order []string
	var c cleanup
	for _, name := range []string{"network", "target", "disk"} {
		c.push(name, func(ctx context.Context) error {
			order = append(order, name)
			if ctx.Err() != nil {
				t.Errorf("%s was given no time", name)
			}
			if name == "target" {
				return errors.New("stuck")
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.run(ctx)
	if got := strings.Join(order, " "); got != "disk target network" {
		t.Errorf("undone in the order %s", got)
	}
	if err == nil || err.Error() != "lab: removing target: stuck" {
		t.Errorf("error %v", err)
	}
	if err := c.run(ctx); err != nil || len(order) != 3 {
		t.Errorf("a second run did something: %v, %v", order, err)
	}
}
