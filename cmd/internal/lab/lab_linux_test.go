package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/rundir"
	"aoe/frame/link/linktest"
	"aoe/initiator/attach"
)

// TestMain is also the worker that a lab starts, and a lab that a test kills.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == killedName {
		if err := runKilled(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == WorkerName {
		if err := Worker(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, raw sockets and loop devices")
	}
}

// needLab skips where the newcomer's run cannot be, and fails the test if it
// leaves something behind.
func needLab(t *testing.T) {
	t.Helper()
	needRoot(t)
	if _, ok := attach.DefaultWay(); !ok {
		t.Skip("needs a way to make a block device: modprobe fuse loop")
	}
	if err := checkTools(); err != nil {
		t.Skip(err)
	}
}

// tiny is a lab in a directory of the test's own, of which nothing may be left at
// the end.
func tiny(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { nothingLeft(t, dir, nil) })
	return Config{Size: 32 << 20, Dir: dir, Seed: uint64(time.Now().UnixNano())}
}

// TestNewcomer is the whole run, on a small tree.
func TestNewcomer(t *testing.T) {
	needLab(t)
	cfg := NewcomerConfig{Config: tiny(t), Tree: plant(t), Ops: 20, Flood: 2000}
	t.Logf("seed %d", cfg.Seed)
	r, err := Newcomer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", b.String())
	if !r.OK {
		t.Fatal("it did not hold")
	}
	var names []string
	for _, row := range r.Rows {
		names = append(names, row.Step)
		if row.Did == "" || !row.OK {
			t.Errorf("%s says nothing of what it did, or failed: %+v", row.Step, row)
		}
	}
	var want []string
	for _, s := range steps() {
		want = append(want, s.name)
	}
	if want = append(want, "clean up"); !slices.Equal(names, want) {
		t.Errorf("steps %v, want %v", names, want)
	}
	last := r.Rows[len(r.Rows)-2].Frames
	if last.Low >= last.Reserve || last.Crunch == 0 || last.Freed["tag never given out"] == 0 {
		t.Errorf("the last step was not what it says: %+v", last)
	}
	if r.Flooded["target"]["mask edit"] == 0 || r.Flooded["initiator"]["foreign EtherType"] == 0 {
		t.Errorf("flooded with %v", r.Flooded)
	}
}

// TestRunThatShouldFailFails: the judge is judged. A byte of a file that is
// changed on the disk, and a condition that was not there, fail the run, and
// everything is removed all the same.
func TestRunThatShouldFailFails(t *testing.T) {
	needLab(t)
	for _, row := range []struct {
		name   string
		before string // the step in front of which something is done
		do     func(*run, context.Context) error
		failed string
		want   string
	}{
		{"a byte changed on the disk", "reattach", flipOmega, "verify", "1 of 5 files are wrong"},
		{"no flood", "no memory", func(r *run, _ context.Context) error {
			r.cfg.Flood = 0
			return nil
		}, "no memory", "there was no flood"},
		{"a step fails", "fsck", func(*run, context.Context) error { return errors.New("sabotage") }, "sabotage", "sabotage"},
	} {
		t.Run(row.name, func(t *testing.T) {
			all := steps()
			at := slices.IndexFunc(all, func(s step) bool { return s.name == row.before })
			all = slices.Insert(all, at, step{"sabotage", nil, row.do})
			cfg := NewcomerConfig{Config: tiny(t), Tree: plant(t), Ops: 10, Flood: 1000}
			t.Logf("seed %d", cfg.Seed)
			r, err := newcomer(t.Context(), cfg, all)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK {
				t.Fatal("all of it held")
			}
			for _, got := range r.Rows {
				if got.OK == (got.Step == row.failed) || !got.OK && !strings.Contains(got.Error, row.want) {
					t.Errorf("step %s: OK %v, %s; want %s to fail with %q", got.Step, got.OK, got.Error, row.failed, row.want)
				}
			}
		})
	}
}

// flipOmega changes a bit of the file that holds "omega", in the image.
func flipOmega(r *run, _ context.Context) error {
	image, err := os.ReadFile(r.lab.image)
	if err != nil {
		return err
	}
	at := bytes.Index(image, []byte("omega"))
	if at < 0 {
		return errors.New("the file is not in the image")
	}
	f, err := os.OpenFile(r.lab.image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("Omega"), int64(at))
	return errors.Join(err, f.Close())
}

// TestInterruptedRunLeavesNothing, whatever it is doing.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	needLab(t)
	for _, s := range steps() {
		t.Run(s.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			all := steps()
			at := slices.IndexFunc(all, func(o step) bool { return o.name == s.name })
			all[at].do = func(r *run, ctx context.Context) error {
				time.AfterFunc(5*time.Millisecond, cancel)
				err := s.do(r, ctx)
				<-ctx.Done()
				return errors.Join(err, ctx.Err())
			}
			r, err := newcomer(ctx, NewcomerConfig{Config: tiny(t), Tree: plant(t), Ops: 5}, all)
			if !errors.Is(err, context.Canceled) || r.OK {
				t.Errorf("interrupted: OK %v, %v", r.OK, err)
			}
			if last := r.Rows[len(r.Rows)-1]; last.Step != "clean up" || !last.OK {
				t.Errorf("the last step is %+v", last)
			}
		})
	}
}

// TestCaptiveCommand: environment, exit status, and the device is what it says.
func TestCaptiveCommand(t *testing.T) {
	needLab(t)
	for _, row := range []struct {
		name   string
		script string
		c      Conditions
		status exit.Status
		want   string
	}{
		{"its status is returned", "exit 9", Conditions{}, 9, ""},
		{"the device has the size of the image", `blockdev --getsize64 "$AOE_DEVICE"`, Conditions{}, 0, fmt.Sprint(32 << 20)},
		{"it runs on the initiator's host", `echo $AOE_ADDR; cat /sys/class/net/$AOE_INTERFACE/mtu 2>/dev/null || ip -br link show $AOE_INTERFACE`, Conditions{}, 0, "e1.1"},
		{"on a bad cable", `dd if=/dev/zero of="$AOE_DEVICE" bs=64k count=20 oflag=direct status=none`, Conditions{Faults: linktest.Faults{Loss: 0.05, Duplicate: 0.05, Reorder: 0.05}}, 0, ""},
		{"from the reserve, under a flood", `dd if="$AOE_DEVICE" of=/dev/null bs=64k count=20 iflag=direct status=none`, Conditions{ReserveOnly: true, Flood: 1000}, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, said bytes.Buffer
			err := Captive(t.Context(), CaptiveConfig{
				Config: tiny(t), Conditions: row.c, Report: &said,
				Command: Command{Args: []string{"sh", "-c", row.script}, Stdout: &out, Stderr: &out},
			})
			if s, _ := exit.Of(err); s != row.status || !strings.Contains(out.String(), row.want) {
				t.Errorf("status %d (%v), want %d; printed\n%s", s, err, row.status, out.String())
			}
			if !strings.Contains(said.String(), "aoe lab: ") {
				t.Errorf("reported %q", said.String())
			}
		})
	}
}

// TestCommandMayDetach: aoe detach in a captive command is no deadlock.
func TestCommandMayDetach(t *testing.T) {
	needLab(t)
	r, w := io.Pipe()
	defer r.Close()
	done := make(chan error, 1)
	cfg := tiny(t)
	release, in := io.Pipe()
	go func() { // ends when the command has read a line
		done <- Captive(t.Context(), CaptiveConfig{
			Config:  cfg,
			Command: Command{Args: []string{"sh", "-c", `echo "$AOE_RUN_DIR"; read line`}, Stdin: release, Stdout: w},
		})
	}()
	line := make([]byte, 4096)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	dir := rundir.Dir(strings.TrimSpace(string(line[:n])))
	if err := dir.Detach(t.Context(), Addr); err != nil {
		t.Error(err)
	}
	if _, err := in.Write([]byte("go on\n")); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLabThatCannotBeMade has a status of its own, which is not the command's.
func TestLabThatCannotBeMade(t *testing.T) {
	needRoot(t)
	for _, row := range []struct {
		name   string
		change func(*Config)
	}{
		{"no such image", func(c *Config) { c.Image = "/nowhere/image" }},
		{"no such directory", func(c *Config) { c.Dir = "/nowhere" }},
		{"no such way", func(c *Config) { c.Via = "scsi" }},
		{"an odd size", func(c *Config) { c.Size = 1000 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := tiny(t)
			row.change(&cfg)
			err := Captive(t.Context(), CaptiveConfig{Config: cfg, Command: Command{Args: []string{"true"}}})
			if s, m := exit.Of(err); s != exit.LabFailed || !m {
				t.Errorf("status %d, %v", s, err)
			}
		})
	}
}
