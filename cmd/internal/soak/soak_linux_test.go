package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aoe/frame/link/veth"
)

// TestSoakOfAFewSeconds runs the program as it is, without the race detector:
// that allocates for itself, and its terabytes of shadow cannot be locked.
func TestSoakOfAFewSeconds(t *testing.T) {
	p, err := veth.New(veth.Config{})
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err := errors.Join(err, p.Close()); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "soak")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary, "-time", "3s", "-every", "1s", "-warm", "1s", "-loss", "0.01").Output()
	t.Logf("%s", out)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Logf("%s", exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	// A header, two lines for each second, two in all, and the verdict.
	if len(lines) != 1+2*3+2+1 || lines[len(lines)-1] != "flat" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if left, err := filepath.Glob("/dev/shm/aoe-soak-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestGaugeMeasures: what is allocated and faulted in shows, and reading it
// costs nothing.
func TestGaugeMeasures(t *testing.T) {
	g, err := newGauge()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.status.Close() })
	var before, after reading
	if err := g.read(&before); err != nil {
		t.Fatal(err)
	}
	if before.RSS < 1<<20 || before.Goroutines < 2 || before.Threads < 2 {
		t.Errorf("implausible: %+v", before)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := g.read(&after); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("a reading costs %v allocations", n)
	}
	const mib = 64
	kept := make([]byte, mib<<20)
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
	if err := g.read(&after); err != nil {
		t.Fatal(err)
	}
	if after.AllocatedBytes-before.AllocatedBytes < mib<<20 || after.Allocations == before.Allocations ||
		after.MinorFaults == before.MinorFaults || after.RSS < before.RSS+mib<<19 {
		t.Errorf("%d MiB made, before %+v, after %+v", mib, before, after)
	}
	if kept[4096] != 1 {
		t.Error("the memory that was touched is gone")
	}
}

// TestTellEndsWithTheOneThatAsks.
func TestTellEndsWithTheOneThatAsks(t *testing.T) {
	g, err := newGauge()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.status.Close() })
	var out bytes.Buffer
	if err := g.tell(strings.NewReader("??"), &out, func(r *reading) { r.Requests = 7 }); err != nil {
		t.Fatal(err)
	}
	if out.Len() != 2*readingBytes || out.Bytes()[0] != 7 {
		t.Errorf("%d bytes, want two readings of %d", out.Len(), readingBytes)
	}
	if err := g.tell(strings.NewReader("?"), failingWriter{}, func(*reading) {}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("nobody reads: %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestDeadWorkerIsSaid: the run ends, and says who is gone.
func TestDeadWorkerIsSaid(t *testing.T) {
	cmd := exec.Command("true")
	ask, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	reply, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &worker{name: "target", cmd: &veth.Cmd{Cmd: cmd}, ask: ask, reply: reply, wire: make([]byte, readingBytes)}
	if err := w.read(&reading{}); err == nil || !strings.Contains(err.Error(), "the target is gone") {
		t.Errorf("error %v", err)
	}
	if err := w.stop(); err != nil {
		t.Errorf("it ended well: %v", err)
	}
}
