package lab

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/live"
	"aoe/cmd/internal/rundir"
)

// A shownLab is what /stats of a page says.
type shownLab struct {
	Sample   live.Sample    `json:"sample"`
	Steps    []live.Step    `json:"steps"`
	Finished string         `json:"finished"`
	Disk     *rundir.Status `json:"disk"`
}

func lookAt(t *testing.T, page *live.Page) (s shownLab) {
	t.Helper()
	r, err := http.Get(page.URL() + "stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func newPage(t *testing.T) *live.Page {
	t.Helper()
	page, err := live.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := page.Close(); err != nil {
			t.Error(err)
		}
	})
	return page
}

// TestPageShowsACaptiveLab: the page shows the lab's disk with the numbers of aoe
// stat, as they change, and none when the lab has ended.
func TestPageShowsACaptiveLab(t *testing.T) {
	needLab(t)
	cfg := tiny(t)
	cfg.Page = newPage(t)
	theirIn, in := io.Pipe()
	out, theirOut := io.Pipe()
	defer out.Close()
	done := make(chan error, 1)
	go func() { // ends when the command has read two lines
		done <- Captive(t.Context(), CaptiveConfig{Config: cfg, Command: Command{
			Args: []string{"sh", "-c", `echo "$AOE_RUN_DIR"; read line
				dd if="$AOE_DEVICE" of=/dev/null bs=64k count=64 iflag=direct status=none; echo read; read line; true`},
			Stdin: theirIn, Stdout: theirOut, Stderr: os.Stderr,
		}})
	}()
	line := func() string {
		text := make([]byte, 4096)
		n, err := out.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text[:n]))
	}
	dir := rundir.Dir(line())
	var before shownLab
	waitFor(t, "the disk is not shown", func() bool {
		before = lookAt(t, cfg.Page)
		return before.Disk != nil && before.Sample.Counters != nil
	})
	if _, err := in.Write([]byte("read\n")); err != nil {
		t.Fatal(err)
	}
	line() // it has read
	waitFor(t, "what is read is not shown", func() bool {
		now := lookAt(t, cfg.Page)
		return now.Sample.Counters != nil && now.Sample.Counters.Requests >= before.Sample.Counters.Requests+4 // MiB
	})
	told, err := dir.Status(t.Context(), Addr)
	if err != nil {
		t.Fatal(err)
	}
	var now shownLab
	waitFor(t, "the page does not say what aoe stat says", func() bool {
		now = lookAt(t, cfg.Page)
		return now.Disk.Stats.Requests == told.Stats.Requests
	})
	if now.Disk.Device != told.Device || now.Disk.PID != told.PID || now.Disk.Stats.Reserve.Reserve != told.Stats.Reserve.Reserve ||
		now.Sample.Counters.Admitted != now.Disk.Stats.Answered || now.Sample.Device != told.Device {
		t.Errorf("the page says %+v, aoe stat %+v", now.Disk, told)
	}
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	waitFor(t, "the disk is still shown", func() bool { return lookAt(t, cfg.Page).Disk == nil })
}

// TestPageShowsTheNewcomersSteps, also those that fail.
func TestPageShowsTheNewcomersSteps(t *testing.T) {
	needLab(t)
	cfg := NewcomerConfig{Config: tiny(t), Tree: plant(t), Ops: 5}
	cfg.Page = newPage(t)
	all := append(steps()[:3:3], step{"sabotage", nil, func(*run, context.Context) error { return os.ErrInvalid }})
	r, err := newcomer(t.Context(), cfg, all)
	if err != nil {
		t.Fatal(err)
	}
	shown := lookAt(t, cfg.Page).Steps
	if len(shown) != len(r.Rows) {
		t.Fatalf("shown are %+v of %+v", shown, r.Rows)
	}
	for i, row := range r.Rows {
		if s := shown[i]; !s.Done || s.Name != row.Step || s.Did != row.Did || s.OK != row.OK || s.Why != row.Error || s.Took != row.Took {
			t.Errorf("shown is %+v of %+v", s, row)
		}
	}
}

// waitFor waits for something that happens soon.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute: %s", what)
		}
	}
}
