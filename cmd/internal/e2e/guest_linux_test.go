package e2e

import (
	_ "embed"
	"os"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/guest"
)

//go:embed testdata/attach.sh
var attachScript string

// TestAttachInGuest: the ways to attach that need a driver, on kernels that have
// it. The script has the story. It takes two minutes for each, in software
// emulation.
func TestAttachInGuest(t *testing.T) {
	if os.Getenv("AOE_GUEST") == "" {
		t.Skip("takes six minutes: AOE_GUEST=1 go test -timeout 30m -run TestAttachInGuest ./cmd/internal/e2e")
	}
	if err := guest.Missing(); err != nil {
		t.Skip(err)
	}
	for _, row := range []struct {
		via, kernel string
		mtu         int
	}{
		{"ublk", "6.12", 9000},
		{"nbd-kernel", "6.12", 9000},
		{"nbd-kernel", "6.1", 1500},
	} {
		t.Run(row.via+" on "+row.kernel, func(t *testing.T) {
			k, err := guest.Prepare(t.Context(), guest.Source{Kernel: row.kernel})
			if err != nil {
				t.Fatal(err)
			}
			out, err := k.Run(t.Context(), guest.Machine{
				Script:      "AOE_VIA=" + row.via + "\n" + attachScript,
				MemoryBytes: 256 << 20, MTU: row.mtu, WriteBack: true, Timeout: 9 * time.Minute,
				Modules: []string{"ublk_drv", "nbd", "crc32c_generic", "ext4"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if out.End != guest.Exited || out.Status != 0 {
				t.Errorf("ended with %s, status %d, after %v:\n%s", out.End, out.Status, out.Took, out.Serial)
			}
			for line := range strings.Lines(string(out.Serial)) {
				if strings.HasPrefix(line, "== ") || strings.HasPrefix(line, "round ") || strings.HasPrefix(line, "took ") {
					t.Log(strings.TrimSpace(line))
				}
			}
			t.Logf("took %v", out.Took)
		})
	}
}
