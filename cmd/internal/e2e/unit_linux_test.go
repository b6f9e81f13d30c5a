package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTargetUnit: systemd finds nothing wrong with the unit, nor much that it
// exposes; and a target with its capability alone serves.
func TestTargetUnit(t *testing.T) {
	needProgram(t, "systemd-analyze", "systemd")
	needProgram(t, "setpriv", "util-linux")
	b := newBed(t, 9000)
	text, err := os.ReadFile("../../../docs/systemd/aoe-target@.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(b.dir, "aoe-target@.service")
	write(t, unit, strings.ReplaceAll(string(text), "/usr/bin/aoe", binary))
	if out := mustRun(t, b.target, "systemd-analyze", "verify", "--man=no", unit); out != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	out, err := run(t, b.target, "systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
	m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > 2.5 {
		t.Errorf("exposure level %s of 10, %v: want at most 2.5\n%s", m[1], err, out)
	}

	caps := regexp.MustCompile(`\nCapabilityBoundingSet=(\S+)\n`).FindSubmatch(text)
	start := regexp.MustCompile(`\nExecStart=/usr/bin/aoe (.*)\n`).FindSubmatch(text)
	if caps == nil || start == nil || string(caps[1]) != "CAP_NET_RAW" {
		t.Fatalf("capabilities %q, command %q", caps, start)
	}
	file := filepath.Join(b.dir, "main.conf")
	write(t, file, fmt.Sprintf("interface %s\ndisk e1.1 %s\n", b.target.Interface, b.image(t, 1<<20)))
	command := strings.NewReplacer("/etc/aoe/target/%i.conf", file, "/var/lib/aoe/%i", filepath.Join(b.dir, "state"), "%i", "main").
		Replace(string(start[1]))
	systemd := newManager(t)
	p := startUnit(t, b, strings.Fields(command))
	systemd.told("READY=1")
	b.waitAnswers(t)
	wantStatus(t, b.target, 0, "0 added", "target", "reload", "--target", "main")
	p.stop(t)
}

// startUnit runs aoe with no capability but that of the unit.
func startUnit(t *testing.T, b *bed, args []string) *proc {
	t.Helper()
	return start(t, b.target, "setpriv", append([]string{"--bounding-set", "-all,+net_raw", "--inh-caps", "-all", "--no-new-privs", binary}, args...)...)
}
