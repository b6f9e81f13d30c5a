package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"aoe/cmd/internal/rundir"
	"aoe/reserve/harden"
)

// capSysResource is CAP_SYS_RESOURCE of capabilities(7).
const capSysResource = 24

// capable reports whether this process has the capability.
func capable(t *testing.T, capability int) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "CapEff:")
	var set uint64
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		t.Fatal(err)
	}
	return set>>capability&1 == 1
}

// TestSwapSafe: every step is taken or says why not, the log and stat tell the
// same, and the tier claims no more than the steps allow.
func TestSwapSafe(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	b.serve(t, b.image(t, 64<<20))
	mustRun(t, host, binary, "attach", "-i", eth, "--swap-safe", "--via", "nbd", "--background", "e1.1")
	t.Cleanup(func() { run(t, host, binary, "detach", "e1.1") }) // whatever happened
	var all []rundir.Status
	if err := json.Unmarshal([]byte(mustRun(t, host, binary, "stat", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Hardening == nil || all[0].Tier == nil {
		t.Fatalf("stat: %+v", all)
	}
	steps := all[0].Hardening.Steps
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
	}
	want := []string{harden.IOFlusher, harden.OOMScore, harden.MinFree, harden.Boost, harden.Threads, harden.RealTime, harden.Warm, harden.Heap, harden.Lock}
	if !slices.Equal(names, want) {
		t.Errorf("steps %q, want %q", names, want)
	}
	for _, name := range []string{harden.Threads, harden.RealTime, harden.Warm, harden.Heap, harden.Lock} {
		if !steps.Done(name) {
			t.Errorf("%s is not done, as root: %+v", name, steps)
		}
	}
	may := capable(t, capSysResource)
	if steps.Done(harden.IOFlusher) != may || steps.Done(harden.OOMScore) != may {
		t.Errorf("CAP_SYS_RESOURCE is %v: %+v", may, steps)
	}
	if tier := all[0].Tier; !may && (tier.Name != "T0" || !strings.Contains(strings.Join(tier.Missing, " "), "CAP_SYS_RESOURCE")) {
		t.Errorf("without IO_FLUSHER it claims %+v", tier)
	}
	log, err := os.ReadFile(string(rundir.Dir(b.runDir()).Log(all[0].Addr)))
	if err != nil {
		t.Fatal(err)
	}
	verbose := mustRun(t, host, binary, "stat", "-v")
	for _, s := range steps {
		for where, text := range map[string]string{"the log": string(log), "stat -v": verbose} {
			if !strings.Contains(text, s.Name) || !strings.Contains(text, s.Failure) || !strings.Contains(text, s.Remedy) {
				t.Errorf("%s does not tell of %+v:\n%s", where, s, text)
			}
		}
	}
	wantStatus(t, host, 0, "e1.1 detached", "detach", "e1.1")
}

// TestSwapSafeStrict refuses when, and only when, a step fails here, and leaves
// nothing.
func TestSwapSafeStrict(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	b.serve(t, b.image(t, 64<<20))
	for _, how := range []string{"--background", "--json"} { // in front, as well
		if capable(t, capSysResource) && how == "--json" {
			continue // it would stay
		}
		out, err := run(t, host, binary, "attach", "-i", eth, "--swap-safe=strict", "--via", "nbd", how, "e1.1")
		refused := status(t, err) != 0
		if refused && (status(t, err) != 1 || !strings.Contains(out, "harden: ") || !strings.Contains(out, "Without it ")) {
			t.Errorf("%s: status %d: %s", how, status(t, err), out)
		}
		if !capable(t, capSysResource) && !refused {
			t.Errorf("%s: attached without CAP_SYS_RESOURCE: %s", how, out)
		}
		if !refused {
			wantStatus(t, host, 0, "detached", "detach", "e1.1")
		}
		if out := wantStatus(t, host, 0, "", "stat"); out != "" {
			t.Errorf("%s: left behind: %q", how, out)
		}
	}
}
