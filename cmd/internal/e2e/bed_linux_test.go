package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
)

// patience is how long anything that should happen soon may take on a machine
// that is busy with other things.
const patience = 30 * time.Second

// binary is the aoe that is tested, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "aoe-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "aoe")
	build := exec.Command("go", "build", "-o", binary, "aoe/cmd/aoe")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build aoe:", err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// long reports whether the tests should take as long as the claims they back.
func long() bool { return os.Getenv("AOE_LONG") != "" }

// choose is whenLong with AOE_LONG set, else whenShort.
func choose[T any](whenLong, whenShort T) T {
	if long() {
		return whenLong
	}
	return whenShort
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, raw sockets and loop devices")
	}
}

func needProgram(t *testing.T, name, debianPackage string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: apt-get install %s", name, debianPackage)
	}
}

// A bed is what a test runs on: an initiator's host and a target's, joined by a
// cable, and a run directory so that no other test sees the disks.
type bed struct {
	initiator, target *veth.Host
	pair              *veth.Pair
	dir               string // for images, sockets and captures
}

func newBed(t *testing.T, mtu int) *bed {
	t.Helper()
	needRoot(t)
	pair := vethtest.New(t, veth.Config{MTU: mtu})
	b := &bed{initiator: pair.A, target: pair.B, pair: pair, dir: memoryDir(t)}
	t.Setenv("AOE_RUN_DIR", b.runDir())
	return b
}

// newBridgeBed is a bed of three hosts on a switch: the initiator's, the target's and
// one more.
func newBridgeBed(t *testing.T, mtu int) (*bed, []*veth.Host) {
	t.Helper()
	needRoot(t)
	h := vethtest.NewBridge(t, veth.Config{MTU: mtu}, 3).Hosts
	b := &bed{initiator: h[0], target: h[1], dir: memoryDir(t)}
	t.Setenv("AOE_RUN_DIR", b.runDir())
	return b, h
}

// memoryDir makes a directory of the test in memory where the system has such a
// place: a disk that others write to can hold up an fsync for a minute.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "aoe-e2e-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// unmountBelow takes away what a failed test has left mounted in dir: a FUSE
// file system whose daemon was killed refuses even to be looked at.
func unmountBelow(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
		return
	}
	for line := range strings.Lines(string(mounts)) {
		at := strings.Fields(line)[1]
		if !strings.HasPrefix(at, dir+"/") {
			continue
		}
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("%s is left mounted: %v", at, err)
		}
		if !t.Failed() {
			t.Errorf("%s was left mounted", at)
		}
	}
}

// runDir is the run directory of the bed's processes, so that no other attached
// disk of the machine is in their way, or they in its.
func (b *bed) runDir() string { return filepath.Join(b.dir, "run") }

// image makes a sparse file of n bytes.
func (b *bed) image(t *testing.T, n int64) string {
	t.Helper()
	path := filepath.Join(b.dir, "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A proc is a process of the test on one of its hosts, with its output kept.
type proc struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; err is set before

	mu    sync.Mutex
	out   bytes.Buffer
	lines chan struct{} // replaced and closed at each new line
	err   error
}

// start starts cmd on host. It is killed when the test ends, if it still runs.
func start(t *testing.T, host *veth.Host, name string, args ...string) *proc {
	t.Helper()
	return startIn(t, host.Do, name, args...)
}

// startHere is start for what needs none of the test's hosts.
func startHere(t *testing.T, name string, args ...string) *proc {
	t.Helper()
	return startIn(t, func(f func() error) error { return f() }, name, args...)
}

func startIn(t *testing.T, within func(func() error) error, name string, args ...string) *proc {
	t.Helper()
	p := &proc{cmd: exec.Command(name, args...), done: make(chan struct{}), lines: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	// A test that is killed takes its processes with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = within(p.cmd.Start)
	w.Close()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	read := make(chan struct{})
	go func() { // ends when the last holder of the pipe's other end has ended
		defer close(read)
		for br := bufio.NewReader(r); ; {
			line, err := br.ReadString('\n')
			p.mu.Lock()
			p.out.WriteString(line)
			close(p.lines)
			p.lines = make(chan struct{})
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() { // ends with the process
		p.err = p.cmd.Wait()
		<-read
		r.Close()
		close(p.done)
	}()
	t.Cleanup(func() {
		select {
		case <-p.done:
		default:
			p.kill(t)
		}
		if t.Failed() {
			t.Logf("%s %s printed:\n%s", filepath.Base(name), strings.Join(args, " "), p.output())
		}
	})
	return p
}

func (p *proc) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// waitFor waits until the output matches, and returns the first group.
func (p *proc) waitFor(t *testing.T, pattern string) string {
	t.Helper()
	return p.waitLongFor(t, patience, pattern)
}

func (p *proc) waitLongFor(t *testing.T, patience time.Duration, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		m := re.FindStringSubmatch(p.out.String())
		more := p.lines
		p.mu.Unlock()
		if m != nil {
			return m[len(m)-1]
		}
		select {
		case <-more:
		case <-p.done:
			if re.MatchString(p.output()) {
				continue
			}
			t.Fatalf("ended (%v) without printing %q:\n%s", p.err, pattern, p.output())
		case <-deadline:
			t.Fatalf("did not print %q in %v:\n%s", pattern, patience, p.output())
		}
	}
}

// kill ends the process the hard way and waits until it is gone.
func (p *proc) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && err != os.ErrProcessDone {
		t.Error(err)
	}
	<-p.done
}

// stop asks the process to end, and fails the test if it does not, or not with
// success.
func (p *proc) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("still running %v after SIGTERM:\n%s", patience, p.output())
	}
	if p.err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", p.err, p.output())
	}
}

// run runs a command on host to its end and returns what it printed.
func run(t *testing.T, host *veth.Host, name string, args ...string) (string, error) {
	t.Helper()
	p := start(t, host, name, args...)
	select {
	case <-p.done:
	case <-time.After(choose(20*time.Minute, 2*time.Minute)):
		p.kill(t)
		t.Fatalf("%s %s took too long:\n%s", name, strings.Join(args, " "), p.output())
	}
	return p.output(), p.err
}

// mustRun is run for a command that has to succeed.
func mustRun(t *testing.T, host *veth.Host, name string, args ...string) string {
	t.Helper()
	out, err := run(t, host, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// serve starts our target for path at address e1.1 and waits until it answers.
func (b *bed) serve(t *testing.T, path string, more ...string) *proc {
	t.Helper()
	args := append([]string{"serve", "-i", b.target.Interface}, more...)
	p := start(t, b.target, binary, append(args, "e1.1", path)...)
	b.waitAnswers(t)
	return p
}

// vblade starts Debian's vblade likewise.
func (b *bed) vblade(t *testing.T, path string, more ...string) *proc {
	t.Helper()
	needProgram(t, "vblade", "vblade")
	args := append(more, "1", "1", b.target.Interface, path)
	p := start(t, b.target, "vblade", args...)
	b.waitAnswers(t)
	return p
}

// waitAnswers waits until e1.1 answers a ping, by asking again and again: each
// try waits for an answer itself, so this does not spin.
func (b *bed) waitAnswers(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out, err := run(t, b.initiator, binary, "ping", "-i", b.initiator.Interface, "-c", "1", "e1.1")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("e1.1 does not answer: %v\n%s", err, out)
		}
	}
}

// attach attaches e1.1 and returns the block device.
func (b *bed) attach(t *testing.T, more ...string) (*proc, string) {
	t.Helper()
	args := append([]string{"attach", "-i", b.initiator.Interface}, more...)
	p := start(t, b.initiator, binary, append(args, "e1.1")...)
	return p, p.waitFor(t, `(?m)^(/dev/loop[0-9]+)`)
}

// capture records what passes the initiator's interface until the returned
// function is called, which gives the file's name.
func (b *bed) capture(t *testing.T) (finish func() string) {
	t.Helper()
	needProgram(t, "dumpcap", "tshark")
	path := filepath.Join(b.dir, "capture.pcapng")
	p := start(t, b.initiator, "dumpcap", "-q", "-P", "-i", b.initiator.Interface, "-w", path)
	p.waitFor(t, `File: `)
	return func() string {
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		<-p.done
		return path
	}
}

// within gives a context that ends with the test's patience.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
