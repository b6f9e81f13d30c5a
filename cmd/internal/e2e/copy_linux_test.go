package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aoe/frame/link/veth"
)

// random fills a file with n bytes, of which every other 64 KiB are zeros.
func (b *bed) random(t *testing.T, name string, n int64) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 64<<10)
	for off := int64(0); off < n; off += 2 * int64(len(p)) {
		for i := range p {
			p[i] = byte(off>>16) ^ byte(i*7) | 1
		}
		if _, err := f.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestCopyThroughOutages: image to disk with the target killed and the cable
// out, disk to disk of vblade, and back to an image: all the same. Of another
// size with
//
//	AOE_LONG=1 AOE_COPY_SIZE=8589934592 go test -run TestCopyThroughOutages -v -timeout 1h ./cmd/internal/e2e
func TestCopyThroughOutages(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	size := choose[int64](1<<30, 256<<20)
	if text := os.Getenv("AOE_COPY_SIZE"); text != "" { // too much for memory
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal("AOE_COPY_SIZE is a number of bytes: ", err)
		}
		size, b.dir = n, t.TempDir()
	}
	image := b.random(t, "source.img", size)
	disk := b.image(t, size)
	server := b.serve(t, disk)
	args := []string{"copy", "-i", eth, "--chunk", "64K", "--depth", "4", "--verify", image, "e1.1"}
	copying := start(t, host, binary, args...)
	for range choose(2, 1) {
		b.waitWritten(t, disk, copying)
		server.kill(t)
		// A ping, as of b.serve, would give the copy the time to end.
		server = start(t, b.target, binary, "serve", "-i", b.target.Interface, "e1.1", disk)
		server.waitFor(t, `on `+b.target.Interface)
	}
	b.waitWritten(t, disk, copying)
	setLink(t, b.target, false)
	// The outage itself is a length of time: nothing to wait for.
	outage := time.NewTimer(choose(time.Minute, time.Second))
	<-outage.C
	setLink(t, b.target, true)
	select {
	case <-copying.done:
	case <-time.After(choose(20*time.Minute, 2*time.Minute)):
		t.Fatal("the copy does not end")
	}
	if copying.err != nil || !strings.Contains(copying.output(), "verified") {
		t.Fatalf("%v:\n%s", copying.err, copying.output())
	}
	t.Log(copying.output())
	mustRun(t, host, "cmp", image, disk)

	needProgram(t, "vblade", "vblade")
	second := filepath.Join(b.dir, "second.img")
	mustRun(t, host, "truncate", "-r", image, second)
	start(t, b.target, "vblade", "2", "1", b.target.Interface, second)
	for wait := time.Now().Add(patience); ; {
		if _, err := run(t, host, binary, "ping", "-i", eth, "-c", "1", "e2.1"); err == nil {
			break
		} else if time.Now().After(wait) {
			t.Fatal(err)
		}
	}
	wantStatus(t, host, 0, "verified", "copy", "-i", eth, "--verify", "e1.1", "e2.1")
	back := filepath.Join(b.dir, "back.img")
	wantStatus(t, host, 0, "zeros that were not sent", "copy", "-i", eth, "e2.1", back)
	mustRun(t, host, "cmp", image, back)
}

// waitWritten waits until another MiB of the disk's image has been written to.
func (b *bed) waitWritten(t *testing.T, path string, copying *proc) {
	t.Helper()
	used := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := within(t, patience)
	for before := used(); used() < before+2048; {
		select {
		case <-copying.done:
			t.Fatalf("the copy ended before it could be disturbed:\n%s", copying.output())
		case <-ctx.Done():
			t.Fatalf("the copy does not get on:\n%s", copying.output())
		case <-tick.C:
		}
	}
}

// setLink sets the interface of a host up or down.
func setLink(t *testing.T, host *veth.Host, up bool) {
	t.Helper()
	state := map[bool]string{true: "up", false: "down"}[up]
	mustRun(t, host, "ip", "link", "set", host.Interface, state)
}

// TestCopyIsInterruptedAndGoesOn: Ctrl-C leaves a state, with which the same
// command goes on; and what it refuses.
func TestCopyIsInterruptedAndGoesOn(t *testing.T) {
	b := newBed(t, 9000)
	host, eth := b.initiator, b.initiator.Interface
	image := b.random(t, "source.img", 512<<20)
	disk := b.image(t, 512<<20)
	server := b.serve(t, disk)
	state := filepath.Join(b.dir, "state")
	args := []string{"copy", "-i", eth, "--chunk", "64K", "--depth", "1", "--state", state, image, "e1.1"}
	copying := start(t, host, binary, args...)
	b.waitWritten(t, disk, copying)
	if err := copying.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-copying.done:
	case <-time.After(patience):
		t.Fatal("goes on after Ctrl-C")
	}
	if got := status(t, copying.err); got != 130 || !strings.Contains(copying.output(), "the same command goes on") {
		t.Fatalf("interrupted: status %d, %s", got, copying.output())
	}
	wantStatus(t, host, 0, "from before", args...)
	mustRun(t, host, "cmp", image, disk)
	wantStatus(t, host, 4, "is not blank: --force", args...)
	wantStatus(t, host, 4, "exists already: --force", "copy", "-i", eth, "e1.1", image)
	wantStatus(t, host, 4, "in use", "copy", "-i", eth, "--force", image, disk) // it is being served
	wantStatus(t, host, 3, "nobody answers", "copy", "-i", eth, "-t", "100ms", image, "e7.1")
	server.stop(t)
}
