package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/control"
	"aoe/cmd/internal/rundir"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/target"
)

var e11 = frame.Addr{Shelf: 1, Slot: 1}

// A record is a log that a test reads.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) has(s string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.buf.String(), s)
}

// configure is a target of memory on a switch of memory.
func configure(t *testing.T) (Config, *record) {
	t.Helper()
	var log record
	sw := linktest.NewSwitch(linktest.Config{})
	return Config{
		Target:     target.Config{Watch: -1, BufferCount: 2, Workers: 1, Log: slog.New(slog.NewTextHandler(&log, nil))},
		Interfaces: []string{"eth0"},
		Disks:      []conf.Disk{{Addr: e11, Path: "mem:1M"}},
		OpenLink: func(name string, st target.Stats) (link.Link, error) {
			if name == "none" {
				return nil, os.ErrNotExist
			}
			return sw.Port(frame.MAC{2, 0, 0, 0, 0, 1}), nil
		},
		RunDir: rundir.Dir(t.TempDir()),
		Print: func(w io.Writer, st target.Stats) error {
			_, err := fmt.Fprintln(w, len(st.Disks), "disks")
			return err
		},
		Out: io.Discard,
	}, &log
}

// await waits for a condition.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// TestRun: it serves, follows its file when a signal says so, and ends.
func TestRun(t *testing.T) {
	cfg, log := configure(t)
	signals := make(chan os.Signal)
	cfg.File, cfg.Reload = filepath.Join(t.TempDir(), "target.conf"), signals
	say := func(text string) {
		t.Helper()
		if err := os.WriteFile(cfg.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	say("disk e1.2 mem:1M\n")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, cfg) }()
	disks := func() int {
		all, err := control.List(t.Context(), cfg.RunDir)
		if err != nil || len(all) != 1 {
			return -1
		}
		return len(all[0].Disks)
	}
	await(t, "two disks", func() bool { return disks() == 2 })
	say("disk e1.2 mem:1M\ndisk e1.3 mem:1M\n")
	signals <- os.Interrupt
	await(t, "three disks", func() bool { return disks() == 3 })
	say("disk e1.2\n")
	signals <- os.Interrupt
	await(t, "a mistake is logged", func() bool { return log.has("nothing is changed") && log.has("target.conf:1") })
	say("disk e1.1 mem:1M\n")
	signals <- os.Interrupt
	await(t, "a conflict is logged", func() bool { return log.has("on the command line") })
	if n := disks(); n != 3 {
		t.Errorf("%d disks after mistakes", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := disks(); n != -1 {
		t.Errorf("after the end there are %d disks", n)
	}
}

// TestWhatCannotStart ends everything that has begun, and says why.
func TestWhatCannotStart(t *testing.T) {
	broken := errors.New("closed pipe")
	for _, row := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"a disk", func(c *Config) { c.Disks[0].Path = "/nothere" }, "no such file"},
		{"an interface", func(c *Config) { c.Interfaces[0] = "none" }, "not exist"},
		{"no file", func(c *Config) { c.File = "/nothere" }, "/nothere"},
		{"a file that cannot be applied", func(c *Config) {
			c.File = filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(c.File, []byte("interface none\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "f: "},
		{"a name", func(c *Config) { c.Name = "a/b" }, "is no name"},
		{"metrics", func(c *Config) { c.Metrics = "nowhere:-1" }, "metrics"},
		{"nobody reads", func(c *Config) { c.Print = func(io.Writer, target.Stats) error { return broken } }, broken.Error()},
		{"a target", func(c *Config) { c.Target.BufferCount = -1 }, "BufferCount"},
	} {
		cfg, _ := configure(t)
		row.set(&cfg)
		if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if all, err := control.List(t.Context(), cfg.RunDir); err != nil || len(all) != 0 {
			t.Errorf("%s: left behind %v, %v", row.name, all, err)
		}
	}
}

// TestServesWithoutASocket where there can be none, unless it was given a name.
func TestServesWithoutASocket(t *testing.T) {
	cfg, log := configure(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.RunDir = rundir.Dir(file)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, cfg) }()
	await(t, "that is logged", func() bool { return log.has("no control socket") })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	cfg.Name = "lab"
	if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "control") {
		t.Errorf("with a name: %v", err)
	}
}
