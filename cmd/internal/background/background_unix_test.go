//go:build unix

package background

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"aoe/cmd/internal/exit"
)

// TestMain is also the process behind: what it does is its first argument.
func TestMain(m *testing.M) {
	if !Inside() {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "ready":
		fmt.Fprintln(os.Stderr, "a message")
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		Ready(fmt.Sprintf("%d %d\n", os.Getpid(), mustSid()), nil)
		<-signals
	case "fail":
		Ready("", exit.With(exit.NoAnswer, errors.New("nobody answers")))
		os.Exit(3)
	case "die":
		os.Exit(9)
	case "hang":
		select {}
	}
	os.Exit(0)
}

func mustSid() int {
	sid, _, errno := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	if errno != 0 {
		panic(errno)
	}
	return int(sid)
}

// TestReadyProcessLivesOn in a session of its own, and what it had to say
// reaches the one in front.
func TestReadyProcessLivesOn(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	said, err := Start(t.Context(), []string{"ready"}, log)
	if err != nil {
		t.Fatal(err)
	}
	var pid, sid int
	if _, err := fmt.Sscan(said, &pid, &sid); err != nil {
		t.Fatalf("it said %q: %v", said, err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if pid != sid {
		t.Errorf("process %d is in session %d: Ctrl-C would reach it", pid, sid)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("it does not live on: %v", err)
	}
	p.Wait()
	if text, err := os.ReadFile(log); err != nil || string(text) != "a message\n" {
		t.Errorf("the log holds %q, %v", text, err)
	}
}

func TestFailureIsToldWithItsStatus(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	_, err := Start(t.Context(), []string{"fail"}, log)
	if s, _ := exit.Of(err); s != exit.NoAnswer || err.Error() != "nobody answers" {
		t.Errorf("%v with status %d", err, s)
	}
	_, err = Start(t.Context(), []string{"die"}, log)
	if s, _ := exit.Of(err); s != exit.Failed || !strings.Contains(err.Error(), "exit status 9") || !strings.Contains(err.Error(), log) {
		t.Errorf("a process that died: %v with status %d", err, s)
	}
}

func TestInterruptedStartEndsTheProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, []string{"hang"}, filepath.Join(t.TempDir(), "log")); err == nil {
		t.Error("a process that never got ready was started")
	}
}
