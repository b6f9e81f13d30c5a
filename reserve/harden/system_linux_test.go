package harden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// childVariable makes the test binary the process that is sealed.
const childVariable = "AOE_HARDEN_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A sealed is what the child found out about itself, with other means than
// those of this package.
type sealed struct {
	PID      int
	Executed bool
	Running  int // GOMAXPROCS
	Steps    Steps

	Threads, Flushers, RealTime int
	OOMScore                    string
	LockedKiB, ResidentKiB      int64
	Unlocked                    []string // mappings that could be swapped out

	ThreadsGrown  int    // threads made by as many goroutines in system calls as were made ahead
	Faults        int64  // page faults of work on memory that was there
	Collections   uint64 // while garbage was made
	ReleasedBytes uint64 // what the runtime gave back of the heap after it was sealed
}

// child takes all steps and looks.
func child() (err error) {
	p, err := Begin(Config{Strict: os.Getenv(childVariable) == "strict"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.Prepare(); err != nil {
		return err
	}
	stop := make(chan struct{})
	var there, ended sync.WaitGroup
	there.Add(1)
	ended.Go(func() { // an I/O thread
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.OnThread()
		there.Done()
		<-stop
	})
	there.Wait()
	defer func() { close(stop); ended.Wait() }()
	buffer := make([]byte, 8<<20) // a buffer that is used
	work(buffer)
	if err := p.Seal(func() error { return nil }); err != nil {
		return err
	}
	s := sealed{PID: os.Getpid(), Executed: (&linux{}).executed(), Running: runtime.GOMAXPROCS(0), Steps: p.Steps()}
	if err := s.look(); err != nil {
		return err
	}
	if err := s.use(buffer); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

func work(b []byte) {
	for i := 0; i < len(b); i += 512 {
		b[i]++
	}
}

// use works on what there is, and counts what that costs.
func (s *sealed) use(buffer []byte) error {
	gauge := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(gauge)
	cycles, released := gauge[0].Value.Uint64(), gauge[1].Value.Uint64()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return err
	}
	for range 100 {
		work(buffer)
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		return err
	}
	for range 100 {
		_ = append([]byte(nil), buffer[:1<<13]...) // garbage, within what there is to spare
	}
	s.Faults = after.Minflt + after.Majflt - before.Minflt - before.Majflt
	metrics.Read(gauge)
	s.Collections = gauge[0].Value.Uint64() - cycles
	if now := gauge[1].Value.Uint64(); now > released {
		s.ReleasedBytes = now - released
	}
	threads := s.Threads
	// Two less than were made: the runtime itself may have taken some since.
	if err := (&linux{}).makeThreads(spareThreads - 2); err != nil {
		return err
	}
	tasks, err := os.ReadDir("/proc/self/task")
	s.ThreadsGrown = len(tasks) - threads
	return err
}

// look reads /proc with a parser of its own.
func (s *sealed) look() error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task + "/stat")
		if err != nil {
			return err
		}
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
		flags, err := strconv.Atoi(f[6])
		if err != nil {
			return err
		}
		s.Threads++
		if flags&0x180000 == 0x180000 {
			s.Flushers++
		}
		if f[41-3] == strconv.Itoa(unix.SCHED_RR) && f[40-3] == "1" { // policy and rt_priority
			s.RealTime++
		}
	}
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return err
	}
	s.OOMScore = strings.TrimSpace(string(score))
	return s.lookAtMemory()
}

func (s *sealed) lookAtMemory() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmLck:"); ok {
			fmt.Sscan(rest, &s.LockedKiB)
		}
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(rest, &s.ResidentKiB)
		}
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	name := ""
	for line := range strings.Lines(string(smaps)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			name = strings.TrimSpace(line)
		case f[0] == "VmFlags:" && !strings.Contains(line, " lo ") && strings.Contains(line, " rd ") &&
			!strings.Contains(name, "[v"):
			s.Unlocked = append(s.Unlocked, name)
		}
	}
	return nil
}

// capable reports whether this process has the capability, by /proc.
func capable(t *testing.T, capability int) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	var set uint64
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		t.Fatal(err)
	}
	return set>>capability&1 == 1
}

// run builds the test binary without the race detector, whose terabytes of
// shadow cannot be locked, and runs it as a child.
func run(t *testing.T, mode string) (sealed, error) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "child")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), childVariable+"="+mode)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return sealed{}, fmt.Errorf("%w: %s", err, &said)
	}
	var s sealed
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	t.Logf("%d threads, %d flushers, %d real-time, OOM score %s, %d KiB locked, %d KiB resident; used: %d faults, %d collections, %d B given back",
		s.Threads, s.Flushers, s.RealTime, s.OOMScore, s.LockedKiB, s.ResidentKiB, s.Faults, s.Collections, s.ReleasedBytes)
	return s, nil
}

// TestSealedProcess takes every step for real, as far as this machine permits.
// What it does not permit must fail in exactly the way that is documented: both
// branches are asserted, and which one depends on the capabilities alone.
func TestSealedProcess(t *testing.T) {
	s, err := run(t, "lenient")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{Threads, Warm, Heap} {
		if !s.Steps.Done(step) {
			t.Errorf("%s failed: %+v", step, s.Steps)
		}
	}
	const capIPCLock, capSysNice, capSysResource = 14, 23, 24
	if may := capable(t, capSysResource); may != s.Steps.Done(IOFlusher) || may != s.Steps.Done(OOMScore) {
		t.Errorf("CAP_SYS_RESOURCE is %v, steps %+v", may, s.Steps)
	} else if may {
		if !s.Executed || s.Flushers != s.Threads || s.OOMScore != "-1000" {
			t.Errorf("steps are done, but %+v", s)
		}
	} else {
		if s.Executed || s.Flushers != 0 || s.OOMScore == "-1000" {
			t.Errorf("steps failed, but %+v", s)
		}
		failed(t, s.Steps, IOFlusher, "operation not permitted", "CAP_SYS_RESOURCE")
		failed(t, s.Steps, OOMScore, "permission denied", "OOMScoreAdjust=-1000")
	}
	if may := capable(t, capSysNice); may != s.Steps.Done(RealTime) || may != (s.RealTime == 1) {
		t.Errorf("CAP_SYS_NICE is %v, %d real-time threads, steps %+v", may, s.RealTime, s.Steps)
	} else if !may {
		failed(t, s.Steps, RealTime, "operation not permitted", "CAP_SYS_NICE")
	}
	if may := capable(t, capIPCLock); may {
		s.checkLocked(t)
	} else {
		failed(t, s.Steps, Lock, "mlock", "CAP_IPC_LOCK")
	}
	if s.Collections != 0 || s.ReleasedBytes != 0 {
		t.Errorf("%d collections, %d bytes given back: the collector is not off", s.Collections, s.ReleasedBytes)
	}
	if s.Running < running {
		t.Errorf("%d goroutines can run at once, want at least %d", s.Running, running)
	}
	if s.ThreadsGrown > 1 { // sysmon may have wanted one meanwhile
		t.Errorf("%d threads more: they were not made ahead", s.ThreadsGrown)
	}
}

// checkLocked: everything is locked, what was in use is in memory, and tables
// that are never touched are not.
func (s sealed) checkLocked(t *testing.T) {
	if !s.Steps.Done(Lock) {
		t.Errorf("lock failed: %+v", s.Steps)
	}
	if len(s.Unlocked) > 0 {
		t.Errorf("could be swapped out:\n%s", strings.Join(s.Unlocked, "\n"))
	}
	if s.ResidentKiB > 40<<10 {
		t.Errorf("%d KiB in memory, 8 MiB of them in use: tables that nobody uses were brought in", s.ResidentKiB)
	}
	if s.Faults > 2 {
		t.Errorf("%d page faults on memory that was there", s.Faults)
	}
}

func failed(t *testing.T, steps Steps, name, failure, remedy string) {
	t.Helper()
	for _, s := range steps.Failed() {
		if s.Name == name && strings.Contains(s.Failure, failure) && strings.Contains(s.Remedy, remedy) && s.Costs != "" {
			return
		}
	}
	t.Errorf("%s should have failed with %q and the remedy %q: %+v", name, failure, remedy, steps)
}

// TestStrictRefuses where a step fails, with the remedy in the error; and where
// none does, it does not.
func TestStrictRefuses(t *testing.T) {
	lenient, err := run(t, "lenient")
	if err != nil {
		t.Fatal(err)
	}
	_, err = run(t, "strict")
	bad := lenient.Steps.Failed()
	if len(bad) == 0 {
		if err != nil {
			t.Errorf("every step succeeds, and strict says %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), bad[0].Name) || !strings.Contains(err.Error(), bad[0].Remedy) {
		t.Errorf("%q failed, and strict says %v", names(bad), err)
	}
}

// TestParsers on what /proc shows, and on what it does not.
func TestParsers(t *testing.T) {
	for _, row := range []struct {
		line string
		want thread
		ok   bool
	}{
		{"12 (aoe) S 1 1 1 0 -1 1573184 0 0", thread{12, true}, true},
		{"12 (a) (b c) S 1 1 1 0 -1 4194560 0 0", thread{12, false}, true},
		{"12 (aoe) S 1 1 1 0 -1 524288 0 0", thread{12, false}, true}, // one of the two flags
		{"12 aoe S", thread{}, false},
		{"x (aoe) S 1 1 1 0 -1 0", thread{}, false},
		{"12 (aoe) S 1", thread{}, false},
		{"12 (aoe) S 1 1 1 0 -1 x 0", thread{}, false},
	} {
		if got, err := parseThread(row.line); got != row.want && row.ok || (err == nil) != row.ok {
			t.Errorf("%q: %+v, %v", row.line, got, err)
		}
	}
	for _, row := range []struct {
		line string
		want mapping
		ok   bool
	}{
		{"00400000-005ae000 r-xp 00000000 fe:00 1234 /usr/bin/aoe\n", mapping{0x400000, 0x5ae000, true, false, false}, true},
		{"c000000000-c000400000 rw-p 00000000 00:00 0 [anon: Go: heap]\n", mapping{0xc000000000, 0xc000400000, true, true, false}, true},
		{"c000400000-c004000000 ---p 00000000 00:00 0 \n", mapping{0xc000400000, 0xc004000000, false, true, false}, true},
		{"7f0000000000-7f0000250000 rw-s 00000000 00:08 99 socket:[99]\n", mapping{0x7f0000000000, 0x7f0000250000, true, false, false}, true},
		{"7ffc00000000-7ffc00004000 r--p 00000000 00:00 0 [vvar_vclock]\n", mapping{0x7ffc00000000, 0x7ffc00004000, true, true, true}, true},
		{"", mapping{}, false},
		{"xyz-1 rw-p 0 0 0\n", mapping{}, false},
		{"1000 rw-p 0 0 0\n", mapping{}, false},
	} {
		if got, err := parseMapping(row.line); got != row.want && row.ok || (err == nil) != row.ok {
			t.Errorf("%q: %+v, %v", row.line, got, err)
		}
	}
}

// TestGoneMapping is told from a limit.
func TestGoneMapping(t *testing.T) {
	b, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	at := addressOf(b)
	if used, err := (&linux{}).resident(at, 8192); used || err != nil {
		t.Errorf("fresh memory: in memory %v, %v", used, err)
	}
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	if _, err := (&linux{}).resident(at, 8192); !errors.Is(err, errGone) {
		t.Errorf("resident: %v", err)
	}
	if err := (&linux{}).lock(at, 8192, true); !errors.Is(err, errGone) {
		t.Errorf("lock: %v", err)
	}
}

// TestSysctls of the machine are read and set, to what they are, without
// allocating; or the error says that they may not be.
func TestSysctls(t *testing.T) {
	l := realSystem().(*linux)
	for s := range sysctls {
		was, err := l.sysctl(s)
		if errors.Is(err, os.ErrNotExist) {
			continue // before Linux 5.0
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.settings[s].file.Close()
		if n := testing.AllocsPerRun(100, func() { _, err = l.sysctl(s) }); n != 0 || err != nil {
			t.Errorf("%v: %v allocations, %v", s, n, err)
		}
		n := testing.AllocsPerRun(100, func() { err = l.setSysctl(s, was) })
		switch denied := l.settings[s].denied; {
		case denied != nil:
			if err != denied || !errors.Is(err, os.ErrPermission) && !errors.Is(err, unix.EROFS) {
				t.Errorf("%v may not be set, and says %v", s, err)
			}
		case err != nil || n != 0:
			t.Errorf("%v: %v allocations, %v", s, n, err)
		}
	}
}

// TestParseCount of what the kernel writes, and of nothing else.
func TestParseCount(t *testing.T) {
	for text, want := range map[string]int{"0\n": 0, "15000\n": 15000, "": -1, "\n": -1, "-1\n": -1, "12": -1, "1x\n": -1, "99999999999999\n": -1} {
		n, err := parseCount([]byte(text))
		if (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q is %d, %v", text, n, err)
		}
	}
}
