package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"aoe/frame/link/veth"
)

// status is the exit status of a command that run has run.
func status(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

// wantStatus runs our binary on host and checks its exit status and a part of
// what it printed.
func wantStatus(t *testing.T, host *veth.Host, want int, text string, args ...string) string {
	t.Helper()
	out, err := run(t, host, binary, args...)
	if got := status(t, err); got != want || !strings.Contains(out, text) {
		t.Errorf("aoe %s: status %d, want %d; printed %q, want %q", strings.Join(args, " "), got, want, out, text)
	}
	return out
}

// TestDayOfAnOperator: attach in the background, look, mount, be refused, unmount,
// detach; with the exit statuses that the help promises.
func TestDayOfAnOperator(t *testing.T) {
	needProgram(t, "mkfs.ext4", "e2fsprogs")
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	wantStatus(t, host, 3, "nobody answers", "attach", "-i", eth, "--wait", "200ms", "e1.1")
	wantStatus(t, host, 3, "nobody answered", "discover", "-i", eth, "--wait", "100ms")
	b.serve(t, b.image(t, 64<<20))

	device := strings.TrimSpace(wantStatus(t, host, 0, "/dev/loop", "attach", "-i", eth, "--background", "e1.1"))
	t.Cleanup(func() { // whatever happened
		run(t, host, "umount", "-q", filepath.Join(b.dir, "mnt"))
		run(t, host, binary, "detach", "e1.1")
	})
	wantStatus(t, host, 0, "e1.1  0.067GB  eth0  up  "+device, "stat")
	wantStatus(t, host, 0, "regime\": \"normal", "stat", "--json")
	wantStatus(t, host, 0, "reserved", "stat", "-v", device)
	wantStatus(t, host, 4, "attached already", "attach", "-i", eth, "e1.1")
	wantStatus(t, host, 0, "64 buffers", "discover", "-i", eth, "e1.*")
	wantStatus(t, host, 0, "e1.1: 2 sent, 2 answered", "ping", "-i", eth, "-c", "2", "--interval", "1ms", "e1.1")
	wantStatus(t, host, 3, "100% lost", "ping", "-i", eth, "-c", "1", "-s", "50ms", "e1.2")

	dir := filepath.Join(b.dir, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mustRun(t, host, "mkfs.ext4", "-q", device)
	mustRun(t, host, "mount", device, dir)
	wantStatus(t, host, 4, "mounted on "+dir, "detach", "e1.1")
	wantStatus(t, host, 0, "up", "stat")
	mustRun(t, host, "umount", dir)
	wantStatus(t, host, 0, "e1.1 detached", "detach", device)
	wantStatus(t, host, 1, "not attached", "detach", "e1.1")
	if out := wantStatus(t, host, 0, "", "stat"); out != "" {
		t.Errorf("after the detach stat printed %q", out)
	}
	if backing := b.backingFile(device); backing != "" {
		t.Errorf("%s is still bound to %s", device, backing)
	}
	// At once: the address is free.
	wantStatus(t, host, 0, "/dev/loop", "attach", "-i", eth, "--background", "e1.1")
	wantStatus(t, host, 0, "detached", "detach", "e1.1")
}

// TestSignalWhileMountedIsRefused: Ctrl-C says where the device is used, and the
// disk stays; the one after the unmounting detaches.
func TestSignalWhileMountedIsRefused(t *testing.T) {
	needProgram(t, "mkfs.ext4", "e2fsprogs")
	b := newBed(t, 9000)
	b.serve(t, b.image(t, 64<<20))
	daemon, device := b.attach(t)
	dir := t.TempDir()
	mustRun(t, b.initiator, "mkfs.ext4", "-q", device)
	mustRun(t, b.initiator, "mount", device, dir)
	t.Cleanup(func() { run(t, b.initiator, "umount", "-q", dir) })
	if err := daemon.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	daemon.waitFor(t, "mounted on "+dir+".*stays attached")
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("still here"), 0o600); err != nil {
		t.Error(err)
	}
	mustRun(t, b.initiator, "umount", dir)
	daemon.stop(t)
}

// TestBenchMeasures, reading and writing, ours and vblade, and refuses to write
// unless told to.
func TestBenchMeasures(t *testing.T) {
	b := newBed(t, 9000)
	b.serve(t, b.image(t, 64<<20))
	eth := b.initiator.Interface
	wantStatus(t, b.initiator, 2, "--destroy-data", "bench", "-i", eth, "--rw", "write", "e1.1")
	out := wantStatus(t, b.initiator, 0, "", "bench", "-i", eth, "--rw", "randwrite", "--destroy-data", "--time", "300ms", "--json", "e1.1")
	var r struct {
		Requests uint64  `json:"requests"`
		Errors   uint64  `json:"errors"`
		IOPS     float64 `json:"iops"`
		CPU      uint64  `json:"cpuPerRequestNanoseconds"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Requests < 100 || r.Errors > 0 || r.IOPS < 100 || r.CPU == 0 {
		t.Errorf("%+v, %v, from\n%s", r, err, out)
	}
	wantStatus(t, b.initiator, 0, "IOPS", "bench", "-i", eth, "--rw", "read", "--bs", "128k", "--depth", "4", "--time", "300ms", "e1.1")
}

// TestNBDSocketOfAttach: what qemu, fio and libnbd use.
func TestNBDSocketOfAttach(t *testing.T) {
	needProgram(t, "nbdcopy", "libnbd-bin")
	b := newBed(t, 9000)
	image := b.image(t, 16<<20)
	b.serve(t, image)
	socket := filepath.Join(b.dir, "nbd.sock")
	daemon := start(t, b.initiator, binary, "attach", "-i", b.initiator.Interface, "--via", "nbd", "--socket", socket, "e1.1")
	daemon.waitFor(t, "(?m)^("+socket+")$")
	random := filepath.Join(b.dir, "random")
	mustRun(t, b.initiator, "dd", "if=/dev/urandom", "of="+random, "bs=1M", "count=16", "status=none")
	mustRun(t, b.initiator, "nbdcopy", "--flush", random, "nbd+unix:///?socket="+socket)
	mustRun(t, b.initiator, "cmp", random, image)
	daemon.stop(t)
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// readWhileThere reads the device $1 again and again, until that fails. A loop
// device that is bound to nothing is empty, which is no error.
const readWhileThere = `echo read
	while [ "$(blockdev --getsize64 "$1")" != 0 ] && dd if="$1" of=/dev/null iflag=direct bs=64k count=64 status=none
	do :; done`

// TestKilledAttachLeavesNoTrap: after kill -9 of the process that holds a disk,
// who uses the device gets errors and does not hang, and the next attach clears
// away what is left.
func TestKilledAttachLeavesNoTrap(t *testing.T) {
	b := newBed(t, 9000)
	b.serve(t, b.image(t, 16<<20))
	daemon, device := b.attach(t)
	reader := start(t, b.initiator, "sh", "-c", readWhileThere, "sh", device)
	reader.waitFor(t, "read")
	daemon.kill(t)
	select {
	case <-reader.done:
	case <-time.After(patience):
		t.Fatal("who reads the device of a dead process hangs")
	}
	again, device := b.attach(t)
	mustRun(t, b.initiator, "dd", "if="+device, "of=/dev/null", "bs=64k", "count=16", "iflag=direct", "status=none")
	again.stop(t)
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), b.dir) {
		t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
}

// TestKilledLabLeavesNoTrap: kill -9 of a lab ends its command, and the next lab
// in the same place removes what is left.
func TestKilledLabLeavesNoTrap(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lab := exec.Command(binary, "lab", "--dir", dir, "--size", "16M", "--",
		"sh", "-c", `set "$AOE_DEVICE"; `+readWhileThere)
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	lab.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // ends when the command, which has the pipe open, does
		_, err := out.Read(line)
		ended <- err
	}()
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the command of a lab that was killed hangs")
	}
	lab.Wait() // it was killed
	if said, err := aoeLab(t, "--dir", dir, "--size", "16M", "--", "true"); err != nil {
		t.Errorf("the next lab: %v\n%s", err, said)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
}

// TestServeKeepsSettings: what was set over the wire survives a restart (H24),
// and can be refused (H22).
func TestServeKeepsSettings(t *testing.T) {
	needProgram(t, "aoecfg", "aoetools")
	b := newBed(t, 1500)
	image, state := b.image(t, 1<<20), filepath.Join(b.dir, "state")
	cfg := func(command, text string) string {
		t.Helper()
		out, _ := run(t, b.initiator, "aoecfg", "-t", "1", "-c", command, "-s", text, "1", "1", b.initiator.Interface)
		return out
	}
	server := b.serve(t, image, "--state", state, "--wire-edits", "any")
	cfg("fset", "kept")
	server.kill(t)
	server = b.serve(t, image, "--state", state)
	if out := cfg("read", ""); !strings.Contains(out, "kept") {
		t.Errorf("after kill -9 and a restart the config string is %q", out)
	}
	server.stop(t)
	server = b.serve(t, image, "--wire-edits", "none")
	cfg("fset", "forged")
	if out := cfg("read", ""); strings.Contains(out, "forged") {
		t.Errorf("an edit was carried out that is refused: %q", out)
	}
	server.stop(t)
}

// TestServeTellsPrometheus what it has served.
func TestServeTellsPrometheus(t *testing.T) {
	b := newBed(t, 9000)
	mustRun(t, b.target, "ip", "link", "set", "lo", "up")
	server := b.serve(t, b.image(t, 1<<20), "--metrics", "127.0.0.1:0")
	addr := server.waitFor(t, `metrics at http://(\S+)/metrics`)
	var conn net.Conn
	err := b.target.Do(func() (err error) {
		conn, err = net.Dial("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	// waitAnswers has asked for the config string.
	if !regexp.MustCompile(`aoe_target_requests_total\{disk="e1.1",op="query"\} [1-9]`).Match(body) {
		t.Errorf("no query was counted:\n%s", body)
	}
	server.stop(t)
}
