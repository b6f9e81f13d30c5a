package e2e

import (
	"strings"
	"testing"
)

// TestSancheckPrintsWhatAoeSancheckDoes: the same lines for the same disks, and in
// words what is wrong with a small MTU.
func TestSancheckPrintsWhatAoeSancheckDoes(t *testing.T) {
	needProgram(t, "aoe-sancheck", "aoetools")
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	wantStatus(t, host, 3, "nobody answered", "sancheck", "-i", eth, "--wait", "100ms")
	b.serve(t, b.image(t, 1<<20))
	theirs := mustRun(t, host, "aoe-sancheck", eth)
	ours := wantStatus(t, host, 0, "", "sancheck", "-i", eth)
	for line := range strings.Lines(theirs) {
		if strings.HasPrefix(line, "Probing") || strings.HasPrefix(line, eth) { // theirs has a PCI ID of what has none
			continue
		}
		if !strings.Contains("\n"+ours, "\n"+line) {
			t.Errorf("aoe-sancheck prints %q, and aoe sancheck\n%s", line, ours)
		}
	}
	mustRun(t, host, "ip", "link", "set", eth, "mtu", "1500")
	wantStatus(t, host, 1, "the MTU of "+eth+", 1500, carries only 1024 bytes", "sancheck", "-i", eth)
}
