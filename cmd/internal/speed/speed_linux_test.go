package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"aoe/cmd/internal/bench"
)

// TestTables measures each table for a moment, with the program as it is, and
// without judging: every number is there, rates and ratios are above zero, and
// nothing is left behind.
func TestTables(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, mounts and raw sockets")
	}
	for program, pkg := range map[string]string{
		"vblade": "vblade", "fio": "fio", "nbdkit": "nbdkit", "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "losetup": "mount",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: apt-get install %s", program, pkg)
		}
	}
	dir := t.TempDir()
	speed, aoe := filepath.Join(dir, "speed"), filepath.Join(dir, "aoe")
	for binary, pkg := range map[string]string{speed: ".", aoe: "aoe/cmd/aoe"} {
		build := exec.Command("go", "build", "-o", binary, pkg)
		build.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0") // without the race detector
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	// Not on a disk: one that others write to can hold up a sync for a minute.
	on, err := os.MkdirTemp(inMemory, "aoe-speedtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(on); err != nil {
			t.Error(err)
		}
	})
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), speed, "-aoe", aoe, "-table", s.name, "-rounds", "1", "-time", "150ms",
				"-size", strconv.Itoa(8<<20), "-dir", on)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.Bytes())
			}
			t.Logf("%s", out)
			checkTables(t, s, string(out))
			if left, err := os.ReadDir(on); err != nil || len(left) > 0 {
				t.Errorf("left in -dir: %v, %v", left, err)
			}
		})
	}
	// Several at once, each in a process of its own.
	out, err := exec.CommandContext(t.Context(), speed, "-aoe", aoe, "-table", "target,initiator", "-rounds", "1", "-time", "50ms",
		"-size", strconv.Itoa(8<<20), "-only", "randread 4 KiB, depth 32").CombinedOutput()
	if _, after, ok := strings.Cut(string(out), "## target"); err != nil || !ok || !strings.Contains(after, "## initiator") {
		t.Errorf("%v\n%s", err, out)
	}
	if loops, err := exec.Command("losetup", "--list", "--noheadings", "--output", "BACK-FILE").Output(); err != nil || bytes.Contains(loops, []byte("aoe-speed")) {
		t.Errorf("loop devices: %s, %v", loops, err)
	}
}

// checkTables finds three tables, or four, with a row for each workload and a number in
// each cell.
func checkTables(t *testing.T, s suite, text string) {
	t.Helper()
	columns := []int{len(s.contestants), len(s.comparisons), len(s.costs)}
	if len(s.counts) > 0 {
		columns = append(columns, len(s.counts))
	}
	seen := map[string]int{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.TrimSpace(cells[0])
		if !strings.Contains(name, "depth") {
			continue
		}
		which := seen[name]
		seen[name]++
		if which >= len(columns) || len(cells)-1 != columns[which] {
			t.Errorf("table %d has %d columns of numbers: %s", which+1, len(cells)-1, line)
			continue
		}
		for _, c := range cells[1:] {
			var v float64
			// A short run may cost less than the kernel's unit of 10.
			if _, err := fmt.Sscanf(c, "%f", &v); err != nil || v < 0 || v == 0 && which < 2 {
				t.Errorf("%q is no measurement (%v): %s", c, err, line)
			}
		}
	}
	for _, w := range s.workloads {
		if n := seen[w.String()]; n != len(columns) {
			t.Errorf("%v is in %d tables, want %d", w, n, len(columns))
		}
	}
}

// TestSuites: what tables show is what somebody measures.
func TestSuites(t *testing.T) {
	for _, s := range suites {
		known := map[string]bool{}
		for _, c := range s.contestants {
			known[c.name] = true
		}
		for _, c := range s.comparisons {
			if !known[c.a] || !known[c.b] {
				t.Errorf("%s: %q compares who does not take part", s.name, c.title)
			}
		}
		for _, c := range slices.Concat(s.costs, s.counts) {
			if !known[c.contestant] {
				t.Errorf("%s: %q is the cost of who does not take part", s.name, c.title)
			}
		}
	}
}

// TestParse of the command line.
func TestParse(t *testing.T) {
	for _, row := range []struct {
		args   string
		tables string // empty: refused
		loads  int    // of the first table
	}{
		{"", "path", len(pathSuite.workloads)},
		{"-table target,nbd", "target nbd", len(targetSuite.workloads)},
		{"-table all", "path target durable poll initiator nbd fuse sequential profile", len(pathSuite.workloads)},
		{"-table=initiator -only=randread", "initiator", 2},
		{"-table initiator -only nothing", "", 0},
		{"-table none", "", 0},
		{"-rounds 0", "", 0},
		{"-pin maybe", "", 0},
		{"-pin no", "path", len(pathSuite.workloads)},
		{"-size 1000000", "", 0},
		{"all", "", 0},
	} {
		cfg, err := parse(strings.Fields(row.args))
		got := strings.Join(titles(cfg.tables, func(s suite) string { return s.name }), " ")
		if (err != nil) != (row.tables == "") || err == nil && (got != row.tables || len(cfg.tables[0].workloads) != row.loads) {
			t.Errorf("%q: %q, %v", row.args, got, err)
		}
	}
}

// TestPins: where two share the work they have a processor each; where there is
// one more, none is bound to any.
func TestPins(t *testing.T) {
	for _, row := range []struct {
		args string
		want bool
	}{
		{"", true}, {"-table initiator", true}, {"-table nbd", false}, {"-table fuse", false}, {"-table sequential", false},
		{"-pin no", false}, {"-table nbd -pin yes", true},
	} {
		cfg, err := parse(strings.Fields(row.args))
		if err != nil || cfg.pins(cfg.tables[0]) != row.want {
			t.Errorf("%q: %v, %v", row.args, !row.want, err)
		}
	}
}

// TestParseFio: a job that failed is none, and neither is one that did nothing.
func TestParseFio(t *testing.T) {
	const job = `{"jobs": [{"error": %d, "job_runtime": 1000, "usr_cpu": 10, "sys_cpu": 40,
		"read": {"total_ios": %d, "runtime": 1000, "short_ios": %d, "drop_ios": 0}, "write": {"total_ios": 0, "runtime": 0}}]}`
	n, err := parseFio(fmt.Appendf(nil, job, 0, 1000, 0), bench.Read.Writes())
	if err != nil || n.requests != 1000 || n.took.Seconds() != 1 || n.cpu.Microseconds() != 500 {
		t.Errorf("%+v, %v", n, err)
	}
	for _, bad := range [][]any{{5, 1000, 0}, {0, 0, 0}, {0, 1000, 1}} {
		if n, err := parseFio(fmt.Appendf(nil, job, bad...), false); err == nil {
			t.Errorf("%v: %+v", bad, n)
		}
	}
	if n, err := parseFio(fmt.Appendf(nil, job, 0, 1000, 0), true); err == nil {
		t.Errorf("nothing was written: %+v", n)
	}
}

// TestSumOf: the counts of a process, from the kernel's words.
func TestSumOf(t *testing.T) {
	const text = "Name:\tsyscr:\nsyscr: 12\nsyscw: 30\nsyscall: 7\nsyscw: none\nwchar:\n"
	if got := sumOf(text, "syscr:", "syscw:"); got != 42 {
		t.Errorf("%v, want 42", got)
	}
}

// TestUsage: what this process does is counted, and that of none is nothing.
func TestUsage(t *testing.T) {
	self := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	before, err := self.usage()
	if err != nil {
		t.Fatal(err)
	}
	after, err := self.usage() // which reads files
	if err != nil {
		t.Fatal(err)
	}
	if u := after.since(before, 2); u.calls <= 0 || u.calls != (after.calls-before.calls)/2 || u.switches < 0 {
		t.Errorf("%+v for each of two requests, from %+v to %+v", u, before, after)
	}
	if u, err := (*process)(nil).usage(); u != (usage{}) || err != nil {
		t.Errorf("nobody has used %+v (%v)", u, err)
	}
}
