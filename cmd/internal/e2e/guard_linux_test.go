package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuardOnTheCommandLine: attach says what it got, stat counts, a second disk
// shares the guard, and after kill -9 the interface is free for the next.
func TestGuardOnTheCommandLine(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	image := b.image(t, 16<<20)
	copied := filepath.Join(b.dir, "other.img")
	mustRun(t, host, "cp", "--sparse=always", image, copied)
	b.serve(t, image, "e1.2", copied)

	wantStatus(t, host, 2, "--guard-allow", "attach", "-i", eth, "--guard", "--guard-allow", "ssh", "e1.1")
	wantStatus(t, host, 2, "without --guard", "attach", "-i", eth, "--guard-allow", "arp", "e1.1")
	attach := func(addr string, more ...string) *proc {
		t.Helper()
		socket := filepath.Join(b.dir, addr+".sock")
		args := append([]string{"attach", "-i", eth, "--via", "nbd", "--socket", socket}, more...)
		p := start(t, host, binary, append(args, addr)...)
		p.waitFor(t, "(?m)^("+socket+")$")
		return p
	}
	first := attach("e1.1", "--guard", "--guard-allow", "arp,tcp:22@10.0.0.1")
	out := wantStatus(t, host, 0, "filter eBPF, guard driver", "stat", "-v", "e1.1")
	for _, want := range []string{"allowed then: arp,tcp:22@10.0.0.1", "no: everything passes"} {
		if !strings.Contains(out, want) {
			t.Errorf("stat -v does not say %q:\n%s", want, out)
		}
	}
	wantStatus(t, host, 0, `"guard": "driver"`, "stat", "--json", "e1.1")

	other := attach("e1.2", "--guard")
	wantStatus(t, host, 0, fmt.Sprintf("shares the guard of process %d", first.cmd.Process.Pid), "stat", "-v", "e1.2")
	other.stop(t)
	first.kill(t)
	again := attach("e1.1", "--guard")
	if out := wantStatus(t, host, 0, "guard driver", "stat", "-v", "e1.1"); strings.Contains(out, "shares") {
		t.Errorf("a guard was left behind by a process that was killed:\n%s", out)
	}
	again.stop(t)
}

// TestWithoutTheRightToLoadPrograms: the disk is attached behind a classic filter,
// stat says what that costs and what to do, and a guard that was insisted on is
// refused.
func TestWithoutTheRightToLoadPrograms(t *testing.T) {
	needProgram(t, "setpriv", "util-linux")
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	b.serve(t, b.image(t, 16<<20))
	less := []string{"--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin", binary}
	out, err := run(t, host, "setpriv", append(less, "attach", "-i", eth, "--via", "nbd", "--guard", "e1.1")...)
	if status(t, err) != 1 || !strings.Contains(out, "CAP_BPF") {
		t.Errorf("a guard without the right: status %d, said %q", status(t, err), out)
	}
	socket := filepath.Join(b.dir, "nbd.sock")
	daemon := start(t, host, "setpriv", append(less, "attach", "-i", eth, "--via", "nbd", "--socket", socket, "e1.1")...)
	daemon.waitFor(t, "(?m)^("+socket+")$")
	said := wantStatus(t, host, 0, "filter classic, guard none", "stat", "-v", "e1.1")
	for _, want := range []string{"needs CAP_BPF", "forged and late answers"} {
		if !strings.Contains(said, want) {
			t.Errorf("stat -v does not say %q:\n%s", want, said)
		}
	}
	daemon.stop(t)
}
