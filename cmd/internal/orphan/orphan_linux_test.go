package orphan

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start runs a script of the shell's with a mark, and returns when it has
// printed a line.
func start(t *testing.T, mark, script string) (*exec.Cmd, Process) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), mark)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s, err := look(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, s.Process
}

func pids(all []Process) (numbers []int) {
	for _, p := range all {
		numbers = append(numbers, p.PID)
	}
	return numbers
}

// TestEnd: who carries the mark is asked to end, who does not listen is killed,
// and others are left alone.
func TestEnd(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	_, polite := start(t, Mark(dir), "echo; exec sleep 600")
	_, deaf := start(t, Mark(dir), "trap '' TERM; echo; while :; do sleep 600; done")
	_, stranger := start(t, Mark(other), "echo; exec sleep 600")
	found, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	// The shell that is deaf has a child with its mark, and as deaf, which may not be
	// there yet.
	if got := pids(found); !slices.Contains(got, polite.PID) || !slices.Contains(got, deaf.PID) || slices.Contains(got, stranger.PID) || slices.Contains(got, os.Getpid()) {
		t.Fatalf("found %v, want %v and %v", found, polite, deaf)
	}
	if left, err := End(t.Context(), []Process{polite, deaf}, time.Second); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	for _, p := range []Process{polite, deaf} {
		if s, err := look(p.PID); err == nil && s.Start == p.Start && !s.ended() {
			t.Errorf("%v runs", p)
		}
	}
	if s, err := look(stranger.PID); err != nil || s.ended() {
		t.Errorf("the stranger was ended: %v, %v", s, err)
	}
	rest, err := Find(dir) // the child of the deaf one, if it was made
	if err != nil {
		t.Fatal(err)
	}
	if left, err := End(t.Context(), rest, time.Second); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if rest, err := Find(dir); err != nil || len(rest) > 0 {
		t.Errorf("still there: %v, %v", rest, err)
	}
}

// TestEndAnother: a process that has got the number of one that ended is not
// touched.
func TestEndAnother(t *testing.T) {
	_, p := start(t, "A=b", "echo; exec sleep 600")
	former := p
	former.Start--
	if left, err := End(t.Context(), []Process{former}, time.Minute); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if s, err := look(p.PID); err != nil || s.ended() {
		t.Errorf("another process was ended: %v, %v", s, err)
	}
}

// TestDying: killed and not reaped is dying; alive, or another, is not.
func TestDying(t *testing.T) {
	cmd, p := start(t, "A=b", "echo; exec sleep 600")
	if p.Dying() {
		t.Error("dying while it lives")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !p.Dying(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a minute after SIGKILL it is not dying")
		}
	}
	former := p
	former.Start--
	if former.Dying() {
		t.Error("what has a number that is used again is said to be dying")
	}
}

// TestWithin finds who is in a network namespace, by a number of its own.
func TestWithin(t *testing.T) {
	own, err := Namespace()
	if err != nil {
		t.Skipf("needs Linux 5.14: %v", err)
	}
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skipf("needs root, to make a network namespace: %v", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	n, err := numberOf(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil || n == own {
		t.Fatalf("number %d, ours is %d: %v", n, own, err)
	}
	for range 20 { // on whatever threads
		found, err := Within([]uint64{n})
		if err != nil || len(found) != 1 || !slices.Equal(pids(found[n]), []int{cmd.Process.Pid}) {
			t.Errorf("found %v, %v", found, err)
		}
	}
	// None of our threads stays there, the first one neither.
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, path := range threads {
		if name, err := os.Readlink(path); err == nil && name == theirs {
			t.Errorf("%s is in the other's namespace", path)
		}
	}
}
