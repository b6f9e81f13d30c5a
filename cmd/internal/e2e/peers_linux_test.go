package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAoetoolsFindOurTarget: the tools that people have get from our target
// what they get from any other.
func TestAoetoolsFindOurTarget(t *testing.T) {
	needProgram(t, "aoeping", "aoetools")
	b := newBed(t, 9000)
	server := b.serve(t, b.image(t, 64<<20), "--wire-edits", "any")
	eth := b.initiator.Interface

	t.Run("aoeping", func(t *testing.T) {
		out := mustRun(t, b.initiator, "aoeping", "-v", "-I", "-s", "5", "1", "1", eth)
		t.Log(out)
		if !strings.Contains(out, "AoE") {
			t.Errorf("aoeping does not show the disk's model:\n%s", out)
		}
	})
	t.Run("aoe-sancheck", func(t *testing.T) {
		needProgram(t, "aoe-sancheck", "aoetools")
		out := mustRun(t, b.initiator, "aoe-sancheck", eth)
		if !strings.Contains(out, "e1.1") {
			t.Errorf("aoe-sancheck did not find e1.1:\n%s", out)
		}
	})
	t.Run("aoecfg", func(t *testing.T) { testAoecfg(t, b) })

	server.stop(t)
}

// testAoecfg walks through the sub-commands of query config as aoecfg knows
// them: read, set, set again (refused), test, prefix, force set.
func testAoecfg(t *testing.T, b *bed) {
	needProgram(t, "aoecfg", "aoetools")
	// With an address aoecfg listens until its time is over, because it cannot
	// know how many answers to expect.
	cfg := func(command, text string) string {
		t.Helper()
		out, err := run(t, b.initiator, "aoecfg", "-t", "1", "-c", command, "-s", text, "1", "1", b.initiator.Interface)
		t.Logf("aoecfg -c %s -s %q: %v\n%s", command, text, err, out)
		return out
	}
	steps := []struct {
		name, command, text string
		want, not           string // in the output; empty: whatever
	}{
		{"read an empty string", "read", "", "", "first"},
		{"set it", "set", "first", "first", ""},
		{"read it back", "read", "", "first", ""},
		{"test for it", "test", "first", "first", ""},
		{"test for a prefix of it: silence", "test", "fir", "", "first"},
		{"prefix", "prefix", "fir", "first", ""},
		{"prefix of something else: silence", "prefix", "sec", "", "first"},
		{"set another: refused", "set", "third", "", "third"},
		{"it is still there", "read", "", "first", ""},
		{"force another", "fset", "second", "second", ""},
		{"read that back", "read", "", "second", "first"},
	}
	for _, s := range steps {
		out := cfg(s.command, s.text)
		if !strings.Contains(out, s.want) {
			t.Errorf("%s: want %q in:\n%s", s.name, s.want, out)
		}
		if s.not != "" && strings.Contains(out, s.not) {
			t.Errorf("%s: want no %q in:\n%s", s.name, s.not, out)
		}
	}
}

// TestVbladeServesOurAttach: our initiator on the target that everybody has.
func TestVbladeServesOurAttach(t *testing.T) {
	for _, row := range []struct {
		name string
		mtu  int
	}{{"MTU 1500", 1500}, {"MTU 9000", 9000}} {
		t.Run(row.name, func(t *testing.T) {
			b := newBed(t, row.mtu)
			image := b.image(t, 64<<20)
			b.vblade(t, image)
			daemon, device := b.attach(t)
			w := newWriter(t, device, 1)
			w.write(t, 512)
			w.verify(t, device)
			w.close(t)
			daemon.stop(t)
			w.verify(t, image)
		})
	}
}

// TestTsharkFindsNothingMalformed: an independent dissector agrees with every
// frame of a session, ours and the target's.
func TestTsharkFindsNothingMalformed(t *testing.T) {
	needProgram(t, "tshark", "tshark")
	b := newBed(t, 9000)
	finish := b.capture(t)
	server := b.serve(t, b.image(t, 16<<20))
	daemon, device := b.attach(t)
	w := newWriter(t, device, 2)
	w.write(t, 64)
	w.verify(t, device)
	mustRun(t, b.initiator, binary, "discover", "-i", b.initiator.Interface)
	w.close(t)
	daemon.stop(t)
	server.stop(t)
	path := finish()

	count := func(filter string) int {
		t.Helper()
		out, err := exec.Command("tshark", "-r", path, "-Y", filter, "-T", "fields", "-e", "frame.number").Output()
		if err != nil {
			t.Fatalf("tshark -Y %q: %v", filter, err)
		}
		return bytes.Count(out, []byte("\n"))
	}
	if n := count("aoe"); n < 150 {
		t.Fatalf("only %d AoE frames in the capture: nothing was proved", n)
	}
	if n := count("aoe && (_ws.malformed || _ws.short)"); n != 0 {
		t.Errorf("tshark calls %d frames malformed", n)
	}
	if n := count("!aoe"); n != 0 {
		t.Errorf("%d frames that are not AoE on a quiet wire", n)
	}
}

// TestDetachLeavesNothing: what attach made is gone when it has ended.
func TestDetachLeavesNothing(t *testing.T) {
	b := newBed(t, 1500)
	b.serve(t, b.image(t, 16<<20))

	daemon, device := b.attach(t)
	daemon.stop(t)
	if backing := b.backingFile(device); backing != "" {
		t.Errorf("%s is still bound to %s after SIGTERM", device, backing)
	}
	if out, err := os.ReadFile("/proc/mounts"); err != nil || bytes.Contains(out, []byte(b.runDir())) {
		t.Errorf("still mounted after SIGTERM (%v):\n%s", err, out)
	}
}

// backingFile is what of this test's a loop device is bound to, empty if nothing
// is: somebody else may have taken the device as soon as it was free.
func (b *bed) backingFile(device string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	if err != nil {
		return "" // the attribute is there only while the device is bound
	}
	path := strings.TrimSpace(string(text))
	if path != "/disk" && !strings.HasPrefix(path, b.dir) { // the first when it is unmounted
		return ""
	}
	return path
}
