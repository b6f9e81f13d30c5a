package guest

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/takeover.sh
var takeOverScript string

// tellTakeOver has the process that serves a device killed under load, and the
// device taken over, kills times for each way to attach: what was acknowledged is
// there, what was not is done after all, and nobody who uses the device sees an
// error. rounds says how long that takes.
func tellTakeOver(t *testing.T, kernel string, kills, rounds int, ways ...string) {
	t.Helper()
	k := prepareKernel(t, kernel)
	out, err := k.Run(t.Context(), Machine{
		Script:      fmt.Sprintf("AOE_WAYS='%s' AOE_KILLS=%d AOE_ROUNDS=%d\n%s", strings.Join(ways, " "), kills, rounds, takeOverScript),
		MemoryBytes: 256 << 20, Modules: []string{"ublk_drv", "nbd"}, // the older kernel has the second only
	})
	if err != nil {
		t.Fatal(err)
	}
	log := string(out.Serial)
	if out.End != Exited || out.Status != 0 || !strings.Contains(log, "== done") {
		t.Fatalf("ended with %s, status %d, after %v:\n%s", out.End, out.Status, out.Took, log)
	}
	if got, want := strings.Count(log, "taken over: "), kills*len(ways); got != want {
		t.Errorf("taken over %d times, want %d", got, want)
	}
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "checked ") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("took %v", out.Took)
}

// TestTakeOver: each way to attach whose device outlives its process.
func TestTakeOver(t *testing.T) { tellTakeOver(t, "6.12", 1, 8, "ublk", "nbd-kernel") }

// TestTakeOverOften: ten times, also on the older kernel.
func TestTakeOverOften(t *testing.T) {
	needLong(t, "TestTakeOverOften")
	t.Run("Linux 6.12", func(t *testing.T) { tellTakeOver(t, "6.12", 10, 100, "ublk", "nbd-kernel") })
	t.Run("Linux 6.1", func(t *testing.T) { tellTakeOver(t, "6.1", 10, 100, "nbd-kernel") })
}
