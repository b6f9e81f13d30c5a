package attach_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// program skips the test if the program is missing, and says where it is had.
func program(t *testing.T, name, from string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: apt-get install %s", name, from)
	}
}

// run runs a program to its end and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// serveForPrograms is a disk of 64 MiB that can do everything.
func serveForPrograms(t *testing.T) (disk *attachtest.Memory, socket, uri string) {
	t.Helper()
	noLeaks(t)
	disk = newDisk(t, attachtest.Config{Poison: true, Shuffle: true, Info: attach.Info{
		Name: "e1.1", MaxRequest: 128 << 10, Preferred: 8192, Trim: true, TrimZeroes: true, WriteCache: true,
	}})
	_, socket = serveNBD(t, attach.NBDConfig{Disk: disk})
	return disk, socket, "nbd+unix:///e1.1?socket=" + socket
}

// TestNBDWithNbdinfo: what libnbd understands of what we tell.
func TestNBDWithNbdinfo(t *testing.T) {
	program(t, "nbdinfo", "libnbd-bin")
	_, _, uri := serveForPrograms(t)
	out := run(t, "nbdinfo", uri)
	for _, want := range []string{
		"newstyle-fixed", "using structured packets", "export=\"e1.1\"", "export-size: 67108864 (64M)",
		"block_size_minimum: 512", "block_size_preferred: 8192", "block_size_maximum: 33554432",
		"can_flush: true", "can_fua: true", "can_multi_conn: true", "can_trim: true", "can_zero: true",
		"can_fast_zero: true", "is_read_only: false",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nbdinfo does not say %q:\n%s", want, out)
		}
	}
	if out := run(t, "nbdinfo", "--list", uri); !strings.Contains(out, "e1.1") {
		t.Errorf("nbdinfo --list does not know the export:\n%s", out)
	}
}

// TestNBDWithNbdcopy: in and out over several connections.
func TestNBDWithNbdcopy(t *testing.T) {
	program(t, "nbdcopy", "libnbd-bin")
	disk, _, uri := serveForPrograms(t)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	data := pattern(1, 64<<20)
	clear(data[8<<20 : 24<<20]) // nbdcopy turns zeros into WRITE_ZEROES
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nbdcopy", "--flush", "--connections=4", "--requests=32", in, uri)
	if !bytes.Equal(disk.Content(), data) {
		t.Error("the disk is not what was copied to it")
	}
	if disk.Completed(attach.Flush) == 0 {
		t.Error("no flush reached the disk")
	}
	if p := disk.Peak(); p < 2 {
		t.Errorf("%d request in flight at once", p)
	}
	run(t, "nbdcopy", "--connections=4", "--request-size=1048576", uri, out)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what was copied from the disk is not what was copied to it (%v)", err)
	}
}

// TestNBDWithQEMU: a conversion with comparison, and single requests of each
// kind.
func TestNBDWithQEMU(t *testing.T) {
	program(t, "qemu-img", "qemu-utils")
	program(t, "qemu-io", "qemu-utils")
	disk, _, uri := serveForPrograms(t)
	in := filepath.Join(t.TempDir(), "in")
	data := pattern(2, 64<<20)
	clear(data[:16<<20])
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-n", "-W", "-f", "raw", "-O", "raw", in, uri)
	if !bytes.Equal(disk.Content(), data) {
		t.Error("the disk is not what was converted to it")
	}
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, uri)

	out := run(t, "qemu-io", "-f", "raw",
		"-c", "write -P 0x11 0 1M",
		"-c", "write -f -P 0x22 1M 64k",
		"-c", "write -z 2M 1M",
		"-c", "write -z -u 3M 1M",
		"-c", "discard 4M 1M",
		"-c", "flush",
		"-c", "aio_write -P 0x33 8M 4M",
		"-c", "aio_write -P 0x44 12M 4M",
		"-c", "aio_flush",
		"-c", "read -P 0x11 0 1M",
		"-c", "read -P 0x22 1M 64k",
		"-c", "read -P 0 2M 3M",
		"-c", "read -P 0x33 8M 4M",
		"-c", "read -P 0x44 12M 4M",
		uri)
	if strings.Contains(out, "failed") || strings.Contains(out, "rror") {
		t.Errorf("qemu-io:\n%s", out)
	}
	if disk.Moved(attach.Trim) == 0 {
		t.Error("no trim reached the disk")
	}
}

// TestNBDWithFio: random writes of mixed lengths at depth 32, verified, with
// flushes in between.
func TestNBDWithFio(t *testing.T) {
	program(t, "fio", "fio")
	if out, _ := exec.Command("fio", "--enghelp").Output(); !bytes.Contains(out, []byte("nbd")) {
		t.Skip("needs a fio with the nbd engine: apt-get install fio")
	}
	disk, socket, _ := serveForPrograms(t)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "fio", "--name=verify", "--ioengine=nbd", "--uri=nbd+unix:///?socket="+socket,
		"--rw=randrw", "--bsrange=512-256k", "--bs_unaligned=0", "--iodepth=32", "--size=32m",
		"--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=64", "--randseed=7")
	cmd.Dir = dir // fio leaves its verify state there
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fio: %v\n%s", err, out)
	}
	if p := disk.Peak(); p < 2 {
		t.Errorf("%d request in flight at once", p)
	}
	if disk.Completed(attach.Flush) == 0 {
		t.Error("no flush reached the disk")
	}
}

// TestNBDWithReadOnlyClients: programs see that the disk is read-only.
func TestNBDWithReadOnlyClients(t *testing.T) {
	program(t, "nbdinfo", "libnbd-bin")
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk, ReadOnly: true})
	if out := run(t, "nbdinfo", fmt.Sprintf("nbd+unix:///?socket=%s", socket)); !strings.Contains(out, "is_read_only: true") {
		t.Errorf("nbdinfo:\n%s", out)
	}
}
