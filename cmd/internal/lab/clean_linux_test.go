package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aoe/cmd/internal/orphan"
	"aoe/cmd/internal/scratch"
)

// killedName is the argument with which the tests start a lab to be killed.
const killedName = "lab-to-be-killed"

// A killedLab is what that lab is told.
type killedLab struct {
	Dir, Tree string
	Seed      uint64
	Script    string // a command; empty: the newcomer's run
}

// runKilled is the process that is killed. It tells when a step begins.
func runKilled(text string) error {
	var k killedLab
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return err
	}
	cfg := Config{Size: 64 << 20, Dir: k.Dir, Seed: k.Seed}
	if k.Script == "" {
		_, err := Newcomer(context.Background(), NewcomerConfig{Config: cfg, Tree: k.Tree, Ops: 100, Flood: 1000, Progress: stepTeller{}})
		return err
	}
	return Captive(context.Background(), CaptiveConfig{
		Config:  cfg,
		Command: Command{Args: []string{"sh", "-c", k.Script}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
	})
}

// A stepTeller prints the names of steps.
type stepTeller struct{ quiet }

func (stepTeller) Begin(step string, _ int64) { fmt.Println("begin", step) }

// A child is a lab in a process of its own.
type child struct {
	*exec.Cmd
	in  *os.File
	out *bufio.Reader
}

// startChild starts a lab. At the end of the test it is killed.
func startChild(t *testing.T, k killedLab) *child {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	c := &child{Cmd: exec.Command(os.Args[0], killedName, string(text)), in: ours}
	c.Stdin, c.Stderr = theirs, os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	t.Cleanup(func() {
		ours.Close()
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
	})
	return c
}

// waitLine reads until a line is want.
func (c *child) waitLine(t *testing.T, want string) {
	t.Helper()
	for {
		line, err := c.out.ReadString('\n')
		if strings.TrimSpace(line) == want {
			return
		}
		if err != nil {
			t.Fatalf("the lab ended before it said %q: %v", want, err)
		}
	}
}

// nothingLeft fails the test unless all that is of labs in dir is gone.
func nothingLeft(t *testing.T, dir string, owners []owner) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if points, err := mountsIn(dir); err != nil || len(points) > 0 {
		t.Errorf("mounts left behind: %v, %v", points, err)
	}
	if loops, err := loopsIn("/", dir); err != nil || len(loops) > 0 {
		t.Errorf("loop devices left behind: %v, %v", loops, err)
	}
	marked, err := orphan.Dirs()
	if err != nil {
		t.Error(err)
	}
	for _, m := range marked {
		if strings.HasPrefix(m, dir) {
			t.Errorf("a process of %s runs", m)
		}
	}
	for _, o := range owners {
		if within, err := orphan.Within(o.Namespaces); err != nil || len(within) > 0 {
			t.Errorf("network namespaces left behind: %v, %v", within, err)
		}
	}
}

// ownersIn are the owners of all labs in dir.
func ownersIn(t *testing.T, dir string) (all []owner) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, dirPattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if o, known, err := readOwner(d); err != nil {
			t.Error(err)
		} else if known {
			all = append(all, o)
		}
	}
	return all
}

// cleanIn is Clean of dir. Other tests may leave and have labs elsewhere, which are
// none of its business.
func cleanIn(t *testing.T, dir string, dryRun bool) []Leftover {
	t.Helper()
	found, err := Clean(context.WithoutCancel(t.Context()), CleanConfig{Dir: dir, DryRun: dryRun})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range found {
		if filepath.Dir(l.Dir) != dir {
			t.Errorf("it was told to look in %s, and found %s", dir, l.Dir)
		}
	}
	return found
}

// mustClean is cleanIn when nothing may be kept.
func mustClean(t *testing.T, dir string) []Leftover {
	t.Helper()
	found := cleanIn(t, dir, false)
	for _, l := range found {
		if len(l.Kept) > 0 {
			t.Errorf("kept: %+v", l)
		}
	}
	return found
}

// aLivingLab is one beside, in dir, and what ends it and sees that it was well.
func aLivingLab(t *testing.T, dir string) (end func()) {
	t.Helper()
	script := `echo ready; read line
		dd if=/dev/urandom of="$AOE_DEVICE" bs=1M count=4 oflag=direct status=none && echo well`
	c := startChild(t, killedLab{Dir: dir, Script: script})
	c.waitLine(t, "ready")
	return func() {
		if _, err := fmt.Fprintln(c.in, "go on"); err != nil {
			t.Error(err)
		}
		c.waitLine(t, "well")
		if err := c.Wait(); err != nil {
			t.Errorf("the lab beside: %v", err)
		}
	}
}

// TestCleanAfterKill: a lab that is killed at any moment, and its worker before
// or after it or not at all, leaves nothing when it is cleaned up after, and a lab
// that runs beside is not disturbed.
func TestCleanAfterKill(t *testing.T) {
	needLab(t)
	dir, tree := t.TempDir(), plant(t)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("AOE_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("AOE_SEED=%d", seed)
	end := aLivingLab(t, dir)
	rng := rand.New(rand.NewPCG(seed, 0))
	all := append(steps(), step{name: "clean up"})
	moments := 6
	if os.Getenv("AOE_LONG") != "" {
		moments = 60
	}
	removed := map[string]int{}
	for i := range moments {
		at, after := all[rng.IntN(len(all))].name, time.Duration(rng.Int64N(int64(60*time.Millisecond)))
		worker := rng.IntN(3)
		t.Logf("%d: %v into %q; worker: %d", i, after, at, worker)
		c := startChild(t, killedLab{Dir: dir, Tree: tree, Seed: rng.Uint64()})
		c.waitLine(t, "begin "+at)
		time.Sleep(after) // when it is killed is the test
		owners := slices.DeleteFunc(ownersIn(t, dir), func(o owner) bool { return o.PID != c.Process.Pid })
		if worker == 0 {
			killWorkers(t, dir, c.Process.Pid)
		}
		if err := c.Process.Kill(); err != nil && c.ProcessState == nil {
			t.Logf("it had ended: %v", err)
		}
		if worker == 1 {
			killWorkers(t, dir, c.Process.Pid)
		}
		for _, l := range mustClean(t, dir) {
			for _, r := range l.Removed {
				removed[r.What]++
			}
		}
		_ = c.Wait() // it was killed
		if again := mustClean(t, dir); len(again) != 1 || !again[0].Living {
			t.Errorf("there is more than the lab beside: %+v", again)
		}
		for _, o := range owners {
			if within, err := orphan.Within(o.Namespaces); err != nil || len(within) > 0 {
				t.Errorf("network namespaces left behind: %v, %v", within, err)
			}
		}
	}
	t.Logf("removed %v", removed)
	end()
	nothingLeft(t, dir, nil)
}

// killWorkers kills the workers of the lab that is process pid, as if by the
// kernel.
func killWorkers(t *testing.T, dir string, pid int) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, dirPattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		// Errors: it has just been removed.
		if o, known, err := readOwner(d); err != nil || !known || o.PID != pid {
			continue
		}
		workers, err := orphan.Find(d)
		if err != nil {
			continue
		}
		for _, w := range workers {
			if p, err := os.FindProcess(w.PID); err == nil {
				_ = p.Kill() // it may have ended
			}
		}
	}
}

// killed kills the lab, without waiting for it: what it holds it may hold on to.
func (c *child) killed(t *testing.T) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

func named(items []Item, what string) (names []string) {
	for _, i := range items {
		if i.What == what {
			names = append(names, i.Name)
		}
	}
	return names
}

// TestCleanEndsTheCommand of a captive lab, and what that has started: what
// forgot its environment too, and what left the process group.
func TestCleanEndsTheCommand(t *testing.T) {
	needLab(t)
	dir := t.TempDir()
	c := startChild(t, killedLab{Dir: dir, Script: `
		env -i sleep 600 &
		setsid sleep 600 &
		echo ready; sleep 600`})
	c.waitLine(t, "ready")
	owners := ownersIn(t, dir)
	if len(owners) != 1 || owners[0].PID != c.Process.Pid || len(owners[0].Namespaces) != 2 {
		t.Fatalf("owners %+v, want one, process %d, with two namespaces", owners, c.Process.Pid)
	}
	waitProcesses(t, owners[0], 4) // and the shell
	c.killed(t)
	if found := cleanIn(t, t.TempDir(), false); len(found) > 0 {
		t.Errorf("in another directory: %+v", found)
	}
	found := cleanIn(t, dir, true)
	if len(found) != 1 || len(named(found[0].Removed, "process")) != 4 || len(named(found[0].Removed, "network namespace")) != 1 || found[0].PID != c.Process.Pid {
		t.Errorf("a dry run shows %+v", found)
	}
	if again := cleanIn(t, dir, true); len(again) != 1 || len(named(again[0].Removed, "process")) != 4 || len(named(again[0].Removed, "mount")) != 1 {
		t.Errorf("a dry run changed something: %+v, then %+v", found, again)
	}
	if found := mustClean(t, dir); len(found) != 1 || len(named(found[0].Removed, "process")) != 4 {
		t.Errorf("removed %+v", found)
	}
	nothingLeft(t, dir, owners)
	if found := mustClean(t, dir); len(found) != 0 {
		t.Errorf("once more: %+v", found)
	}
}

// waitProcesses waits until the namespaces of o have n processes in them.
func waitProcesses(t *testing.T, o owner, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		within, err := orphan.Within(o.Namespaces)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, all := range within {
			got += len(all)
		}
		if got == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after a minute there are %v, want %d", within, n)
		}
	}
}

// TestCleanKeepsWhatIsOthers: a mount of the lab's device in a directory of
// somebody's, and a process that went into the lab's network by itself. When they
// are gone, so is the rest.
func TestCleanKeepsWhatIsOthers(t *testing.T) {
	needLab(t)
	dir, mine := t.TempDir(), t.TempDir()
	t.Cleanup(func() { // should the test fail half way, behind the end of its lab
		if mounted, err := isMounted(mine); err == nil && mounted {
			_ = exec.Command("umount", "-l", mine).Run() // what fails is seen by whoever removes the directory
		}
		cleanIn(t, dir, false)
	})
	c := startChild(t, killedLab{Dir: dir, Script: `mkfs.ext4 -q "$AOE_DEVICE" && mount "$AOE_DEVICE" ` + mine + ` && echo ready; sleep 600`})
	c.waitLine(t, "ready")
	owners := ownersIn(t, dir)
	labs, err := filepath.Glob(filepath.Join(dir, dirPattern))
	if err != nil || len(owners) != 1 || len(labs) != 1 {
		t.Fatalf("owners %v, %v", owners, err)
	}
	waitProcesses(t, owners[0], 2) // the shell and what it runs now
	command, err := orphan.Find(labs[0])
	if err != nil || len(command) != 2 {
		t.Fatalf("the command: %v, %v", command, err)
	}
	visitor := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", command[0].PID), "setsid", "sleep", "600")
	if err := visitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = visitor.Process.Kill() // it may have ended
		_ = visitor.Wait()
	}()
	waitProcesses(t, owners[0], 3)
	c.killed(t)

	found := cleanIn(t, dir, false)
	if len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	kept := found[0].Kept
	if len(named(kept, "loop device")) != 1 || len(named(kept, inside.what)) != 1 || !strings.Contains(found[0].Why, "mounted on "+mine) {
		t.Errorf("kept %+v because %s", kept, found[0].Why)
	}
	if mounted, err := isMounted(mine); err != nil || !mounted {
		t.Errorf("somebody's mount is gone (%v)", err)
	}
	if err := exec.Command("umount", "-l", mine).Run(); err != nil {
		t.Fatal(err)
	}
	found = cleanIn(t, dir, false)
	if len(found) != 1 || len(named(found[0].Kept, "loop device"))+len(named(found[0].Kept, "mount")) > 0 || len(named(found[0].Kept, inside.what)) != 1 {
		t.Errorf("without the mount: %+v", found)
	}
	if err := visitor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = visitor.Wait() // it was killed
	mustClean(t, dir)
	nothingLeft(t, dir, owners)
}

// TestCleanWhatCannotEnd: a lab is killed while a thread of its own waits in the
// kernel for the device that it serves. It holds its lock, its mount and its
// device until the connection is ended.
func TestCleanWhatCannotEnd(t *testing.T) {
	needLab(t)
	dir := t.TempDir()
	// What the command leaves in the page cache, the lab writes back at the end, over
	// a cable that the command has cut.
	c := startChild(t, killedLab{Dir: dir, Script: `
		dd if=/dev/zero of="$AOE_DEVICE" bs=1M count=16 conv=notrunc status=none
		ip link set "$AOE_INTERFACE" down; echo ready`})
	c.waitLine(t, "ready")
	owners := ownersIn(t, dir)
	if len(owners) != 1 {
		t.Fatalf("owners %+v, want one", owners)
	}
	for end := time.Now().Add(time.Minute); !waitsInKernel(t, c.Process.Pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("after a minute the lab does not wait for its device")
		}
	}
	c.killed(t)
	for end := time.Now().Add(time.Minute); !owners[0].Dying(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a minute after SIGKILL the lab is not dying")
		}
	}
	if found := mustClean(t, dir); len(found) != 1 || found[0].Living || len(named(found[0].Removed, "loop device")) != 1 {
		t.Errorf("removed %+v", found)
	}
	_ = c.Wait() // it was killed, and can end now
	nothingLeft(t, dir, owners)
}

// waitsInKernel reports whether a thread of the process is in fsync(2), in a wait
// that no signal ends.
func waitsInKernel(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		stat, _ := os.ReadFile(filepath.Join(thread, "stat")) // of one that has ended: nothing
		call, _ := os.ReadFile(filepath.Join(thread, "syscall"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(rest, "D") && strings.HasPrefix(string(call), fmt.Sprint(unix.SYS_FSYNC, " ")) {
			return true
		}
	}
	return false
}

// TestCleanGuest: what a machine of aoe lab guest left, whose directory is all
// that there is of it but for processes.
func TestCleanGuest(t *testing.T) {
	parent := t.TempDir()
	dir, lock, err := scratch.New(parent, guestPattern)
	if err != nil {
		t.Fatal(err)
	}
	qemu := exec.Command("sleep", "600")
	qemu.Env = append(os.Environ(), orphan.Mark(dir))
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = qemu.Process.Kill() // it should have ended
		_ = qemu.Wait()
	}()
	if found := mustClean(t, parent); len(found) != 1 || !found[0].Living {
		t.Errorf("while it lives: %+v", found)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "disk.img"), nil, 0o600), lock.Close()); err != nil {
		t.Fatal(err)
	}
	if found := mustClean(t, parent); len(found) != 1 || len(named(found[0].Removed, "process")) != 1 {
		t.Errorf("removed %+v", found)
	}
	nothingLeft(t, parent, nil)
}
