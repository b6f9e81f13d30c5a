package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/live"
)

// TestLabHTTPShowsTheRun: the disk and the steps of the newcomer's run are on the
// page while it runs.
func TestLabHTTPShowsTheRun(t *testing.T) {
	needRoot(t)
	needProgram(t, "mkfs.ext4", "e2fsprogs")
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "lab", "--http", "127.0.0.1:0", "--dir", t.TempDir(), "--tree", tree, "--size", "64M")
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() { // ends with the lab
		text, _ := io.ReadAll(in)
		said <- string(text)
	}()
	var shown struct {
		Sample live.Sample
		Steps  []live.Step
	}
	url := strings.TrimSpace(strings.TrimPrefix(line, "aoe lab: live at "))
	for end := time.Now().Add(2 * time.Minute); len(shown.Steps) < 3 || shown.Sample.Counters == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after two minutes there is %+v", shown)
		}
		r, err := http.Get(url + "stats")
		if err != nil {
			t.Fatalf("the lab has ended, and what was shown last is %+v: %v", shown, err)
		}
		shown.Steps, shown.Sample = nil, live.Sample{}
		err = json.NewDecoder(r.Body).Decode(&shown)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	rest := <-said
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, rest)
	}
}

// TestLabClean: the program itself is killed, and the program itself cleans up.
func TestLabClean(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary, "lab", "--dir", dir, "--", "sh", "-c", "echo ready; exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	clean := func() string {
		out, err := exec.CommandContext(t.Context(), binary, "lab", "clean", "--dir", dir).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return string(out)
	}
	if text := clean(); !strings.Contains(text, "which lives: left alone") {
		t.Errorf("while it lives: %s", text)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()  // it was killed
	text := clean() // the loop device went by itself: nobody had it open any more
	for _, want := range []string{"process ", "network namespace ", "mount ", "directory " + dir} {
		if !strings.Contains(text, "removed    "+want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
