package guest

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/takeover.sh
var takeOverScript string

// TestTakeOver: the process that serves a device is killed under load, and the device
// taken over, for each way to attach whose device outlives its process: what was
// acknowledged is there, what was not is done after all, and nobody who uses the
// device sees an error. TestAttachInGuest, in cmd/internal/e2e, does more of it.
func TestTakeOver(t *testing.T) {
	const kills, rounds = 1, 8
	ways := []string{"ublk", "nbd-kernel"}
	k := prepare(t)
	out, err := k.Run(t.Context(), Machine{
		Script:      fmt.Sprintf("AOE_WAYS='%s' AOE_KILLS=%d AOE_ROUNDS=%d\n%s", strings.Join(ways, " "), kills, rounds, untilScript+takeOverScript),
		MemoryBytes: 256 << 20, Modules: []string{"ublk_drv", "nbd"},
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
