package rundir

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"aoe/frame"
)

// A fakeDisk is a Handler that can be told to refuse.
type fakeDisk struct {
	status   Status
	refuse   error
	detached chan struct{}
}

func (f *fakeDisk) Status() Status { return f.status }
func (f *fakeDisk) Detach(context.Context) error {
	if f.refuse == nil {
		close(f.detached)
	}
	return f.refuse
}

func newDisk(addr frame.Addr, device string) *fakeDisk {
	return &fakeDisk{
		status:   Status{Addr: addr, Device: device, State: "up", PID: os.Getpid(), SizeBytes: 1 << 30},
		detached: make(chan struct{}),
	}
}

func listen(t *testing.T, dir Dir, d *fakeDisk) *Server {
	t.Helper()
	s, err := Listen(dir, d.status.Addr, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestLifeOfADisk: attached, listed, asked, refused while in use, detached,
// gone, and its address free again.
func TestLifeOfADisk(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx := t.Context()
	dir := Dir(filepath.Join(t.TempDir(), "run"))
	if l, err := dir.List(); err != nil || len(l) != 0 {
		t.Fatalf("a directory that is missing lists %v, %v", l, err)
	}
	e12, e11 := frame.Addr{Shelf: 1, Slot: 2}, frame.Addr{Shelf: 1, Slot: 1}
	second := newDisk(e12, "/dev/loop1")
	first := newDisk(e11, filepath.Join(t.TempDir(), "device"))
	listen(t, dir, second)
	s := listen(t, dir, first)

	if l, err := dir.List(); err != nil || !slices.Equal(l, []frame.Addr{e11, e12}) {
		t.Errorf("listed %v, %v; want both in order", l, err)
	}
	if got, err := dir.Status(ctx, e11); err != nil || got != first.status {
		t.Errorf("status %+v, %v; want %+v", got, err, first.status)
	}
	for _, name := range []string{"e1.1", first.status.Device} {
		if got, err := dir.Find(ctx, name); err != nil || got != e11 {
			t.Errorf("Find(%s) = %v, %v", name, got, err)
		}
	}
	if _, err := Listen(dir, e11, first); !errors.Is(err, ErrAttached) {
		t.Errorf("attaching twice: %v, want ErrAttached", err)
	}

	first.refuse = errors.New("mounted on /mnt")
	if err := dir.Detach(ctx, e11); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "/mnt") {
		t.Errorf("detach while mounted: %v, want ErrRefused with the reason", err)
	}
	first.refuse = nil
	go func() { // as the process that holds the disk does
		<-first.detached
		s.Close()
	}()
	if err := dir.Detach(ctx, e11); err != nil {
		t.Errorf("detach: %v", err)
	}

	if _, err := dir.Find(ctx, "e1.1"); !errors.Is(err, ErrNotAttached) {
		t.Errorf("after the detach it is still found: %v", err)
	}
	if _, err := dir.Status(ctx, e11); !errors.Is(err, ErrNotAttached) {
		t.Errorf("after the detach it still answers: %v", err)
	}
	listen(t, dir, newDisk(e11, "/dev/loop0")).Close() // at once: its address is free
	waitGoroutines(t, before+1)                        // the accept loop of e1.2
}

func waitGoroutines(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > want; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, want %d", runtime.NumGoroutine(), want)
		}
		runtime.Gosched()
	}
}

// TestDeadProcessLeavesNothingInTheWay: a socket that nobody listens on is not
// listed, and does not keep the disk from being attached again.
func TestDeadProcessLeavesNothingInTheWay(t *testing.T) {
	dir := Dir(t.TempDir())
	addr := frame.Addr{Shelf: 3, Slot: 3}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir.socket(addr), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if got, err := dir.List(); err != nil || len(got) != 0 {
		t.Errorf("the socket of a dead process is listed: %v, %v", got, err)
	}
	listen(t, dir, newDisk(addr, "/dev/loop3"))
	if got, err := dir.List(); err != nil || len(got) != 1 {
		t.Errorf("listed %v, %v; want the new disk", got, err)
	}
}

// TestLongPaths: a socket's name has at most 107 bytes; directories for temporary
// files are longer than that in good company.
func TestLongPaths(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: elsewhere a socket's path has a limit")
	}
	dir := Dir(filepath.Join(t.TempDir(), strings.Repeat("long/", 40)))
	addr := frame.Addr{Shelf: 1, Slot: 1}
	d := newDisk(addr, "/dev/loop0")
	listen(t, dir, d)
	if got, err := dir.Status(t.Context(), addr); err != nil || got != d.status {
		t.Errorf("status %+v, %v", got, err)
	}
	if l, err := dir.List(); err != nil || len(l) != 1 {
		t.Errorf("listed %v, %v", l, err)
	}
}

// TestSocketIsPrivate: who may connect may detach.
func TestSocketIsPrivate(t *testing.T) {
	dir := Dir(t.TempDir())
	addr := frame.Addr{Shelf: 1, Slot: 1}
	listen(t, dir, newDisk(addr, ""))
	fi, err := os.Stat(dir.socket(addr))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode(), err)
	}
}

// TestMalformedRequests: whatever stands on the line, the server lives on.
func TestMalformedRequests(t *testing.T) {
	dir := Dir(t.TempDir())
	addr := frame.Addr{Shelf: 1, Slot: 1}
	listen(t, dir, newDisk(addr, ""))
	for _, row := range []struct{ name, send, want string }{
		{"not JSON", "stat\n", ""},
		{"unknown command", `{"command":"format"}` + "\n", `{"error":"unknown command \"format\""}` + "\n"},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn, err := net.Dial("unix", dir.socket(addr))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := conn.Write([]byte(row.send)); err != nil {
				t.Fatal(err)
			}
			conn.(*net.UnixConn).CloseWrite()
			b := make([]byte, 1024)
			n, _ := conn.Read(b)
			if string(b[:n]) != row.want {
				t.Errorf("answered %q, want %q", b[:n], row.want)
			}
		})
	}
	if _, err := dir.Status(t.Context(), addr); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestSilentProcessTimesOut: a process that hangs does not hang the one that
// asks it.
func TestSilentProcessTimesOut(t *testing.T) {
	dir := Dir(t.TempDir())
	addr := frame.Addr{Shelf: 1, Slot: 1}
	l, err := net.Listen("unix", dir.socket(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := dir.Status(ctx, addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("asking a silent process: %v, want a deadline", err)
	}
}

func TestDefaultDirectory(t *testing.T) {
	t.Setenv("AOE_RUN_DIR", "")
	if d := Default(); d != "/run/aoe" {
		t.Errorf("default %s", d)
	}
	t.Setenv("AOE_RUN_DIR", "/elsewhere")
	if d := Default(); d != "/elsewhere" {
		t.Errorf("with AOE_RUN_DIR: %s", d)
	}
}
