package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLinkXDP: a disk is used through AF_XDP, with a guard and without, stat says
// so, others on the host are not disturbed, a second one is told that there is
// room for one, and nothing is left.
func TestLinkXDP(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	image := b.image(t, 16<<20)
	copied := filepath.Join(b.dir, "other.img")
	mustRun(t, host, "cp", "--sparse=always", image, copied)
	b.serve(t, image, "e1.2", copied)

	mustRun(t, host, binary, "bench", "-i", eth, "--link", "xdp", "--time", "200ms", "e1.1")
	for _, how := range []struct{ flag, guard string }{{"--guard=false", "guard none"}, {"--guard", "guard driver"}} {
		socket := filepath.Join(b.dir, "e1.1.sock")
		first := start(t, host, binary, "attach", "-i", eth, "--link", "xdp", "--via", "nbd", "--socket", socket, how.flag, "e1.1")
		first.waitFor(t, "(?m)^("+socket+")$")
		wantStatus(t, host, 0, "filter AF_XDP, "+how.guard, "stat", "-v", "e1.1")
		// Whose frames are none of the disk's get them as ever.
		if out := mustRun(t, host, binary, "discover", "-i", eth); !strings.Contains(out, "e1.1") || !strings.Contains(out, "e1.2") {
			t.Errorf("%s: discover finds %q", how.flag, out)
		}
		wantStatus(t, host, 1, "another program receives there", "attach", "-i", eth, "--link", "xdp", "--via", "nbd", "e1.2")
		wantStatus(t, host, 1, "another program receives there", "ping", "-i", eth, "--link", "xdp", "-c", "1", "e1.2")
		// Whoever comes after one that was killed finds its queue free.
		first.kill(t)
		first = start(t, host, binary, "attach", "-i", eth, "--link", "xdp", "--via", "nbd", "--socket", socket, how.flag, "e1.1")
		first.waitFor(t, "(?m)^("+socket+")$")
		first.stop(t)
		if out := mustRun(t, host, "ip", "link", "show", eth); strings.Contains(out, "xdp") {
			t.Errorf("%s: a program was left: %s", how.flag, out)
		}
	}
}
