package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func tree() *cobra.Command {
	root := &cobra.Command{Use: "aoe", Short: "Disks", Long: "All of it."}
	sub := &cobra.Command{
		Use: "cfg [-i INTERFACE] ADDRESS", Short: "Read the string", RunE: func(*cobra.Command, []string) error { return nil },
		Long: `Say ` + "`aoe cfg`" + `, with a back\slash.
.Not a macro.

  read    print it
  set S   set it
          for good
  and a remark

EXIT STATUS
  0  done
  3  nobody answered`,
		Example: "  aoe cfg e1.1\n  # and\n  aoe cfg --json 'e*.*'",
	}
	sub.Flags().StringP("interface", "i", "", "network interface")
	sub.Flags().Int("depth", 8, "chunks at a `time`")
	sub.Flags().Bool("secret", false, "not told")
	sub.Flags().MarkHidden("secret")
	hidden := &cobra.Command{Use: "worker", Hidden: true}
	root.AddCommand(sub, hidden)
	return root
}

func TestPage(t *testing.T) {
	root := tree()
	var b strings.Builder
	if err := Write(&b, root.Commands()[0], "v1"); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		".TH AOE-CFG 8 \"\" \"aoe v1\"", "\naoe\\-cfg \\- read the string\n", ".B aoe cfg [\\-i INTERFACE] ADDRESS\n",
		"Say \\fBaoe cfg\\fR, with a back\\eslash.", "\n\\&.Not a macro.\n", ".PP\nand a remark\n",
		".SH OPTIONS\n", "\\fB\\-\\-depth\\fR \\fItime\\fR\nchunks at a time (default 8)\n", "\\fB\\-i\\fR, \\fB\\-\\-interface\\fR \\fIstring\\fR\n",
		".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 3\nnobody answered\n", ".SH EXAMPLES\n.nf\naoe cfg e1.1\n", "\\fBaoe\\fR(8)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Index(got, ".SH OPTIONS") > strings.Index(got, ".SH EXIT STATUS") {
		t.Errorf("printed\n%s", got)
	}
}

// TestListsGoOn: an entry's second line belongs to it.
func TestListsGoOn(t *testing.T) {
	p := &page{}
	p.long("  read    print it\n  set S   set it\n          for good")
	if want := ".TP\n.B read\nprint it\n.TP\n.B set S\nset it\nfor good\n.PP\n"; p.b.String() != want {
		t.Errorf("%q, want %q", p.b.String(), want)
	}
}

func TestWriteAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man8")
	paths, err := WriteAll(tree(), dir, "v1")
	if err != nil || len(paths) != 2 || filepath.Base(paths[1]) != "aoe-cfg.8" {
		t.Fatalf("%v, %v", paths, err)
	}
	if b, err := os.ReadFile(paths[0]); err != nil || !strings.Contains(string(b), "aoe\\-cfg\\fR(8)") || strings.Contains(string(b), "worker") {
		t.Errorf("%s, %v", b, err)
	}
}
