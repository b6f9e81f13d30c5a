package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aoe/cmd/internal/scratch"
	"aoe/frame/link/veth"
)

// mtu of all cables: jumbo frames, which hold 16 sectors.
const mtu = 9000

// diskAddr is the address of every disk; they are on different cables.
const diskAddr = "e1.1"

// A bed is what a table is measured on: processes by the names that the
// contestants know, and cables. Every target has a cable of its own, so that
// nobody sees, and has to drop, what is meant for another, unless the table is
// about one cable.
type bed struct {
	cfg    config
	dir    string // on tmpfs
	binary string // aoe

	processes map[string]*process
	echo      *veth.Pair
	settle    func() error // before each run; nil: nothing to do
	lost      map[string]uint64

	closers []func() error // the last first
}

func (b *bed) push(f func() error) { b.closers = append(b.closers, f) }

func (b *bed) close() error {
	var errs []error
	for _, f := range slices.Backward(b.closers) {
		errs = append(errs, f())
	}
	b.closers = nil
	return errors.Join(errs...)
}

// inMemory is where directories on tmpfs are made, and how they are called.
const inMemory, dirPattern = "/dev/shm", "aoe-speed-*"

// newBed makes the directory and the program.
func newBed(cfg config) (_ *bed, err error) {
	b := &bed{cfg: cfg, binary: cfg.aoe, processes: map[string]*process{}, lost: map[string]uint64{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if err := scratch.Sweep(inMemory, dirPattern, os.RemoveAll); err != nil {
		return nil, err
	}
	dir, lock, err := scratch.New(inMemory, dirPattern)
	if err != nil {
		return nil, err
	}
	b.dir = dir
	b.push(func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) })
	if b.binary == "" {
		b.binary = filepath.Join(dir, "aoe")
		build := exec.Command("go", "build", "-o", b.binary, "aoe/cmd/aoe")
		build.Stderr = os.Stderr
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("building aoe (run this inside the repository, or say -aoe): %w", err)
		}
	}
	return b, nil
}

// image makes a file of the disk's size, written whole, so that no contestant
// pays for allocating it.
func (b *bed) image(dir, name string) (path string, err error) {
	path = filepath.Join(dir, name+".img")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zeros := make([]byte, 1<<20)
	for left := b.cfg.imageBytes; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
	}
	return path, errors.Join(err, f.Sync())
}

// cable makes a new one.
func (b *bed) cable() (*veth.Pair, error) {
	pair, err := veth.New(veth.Config{MTU: mtu})
	if err == nil {
		b.push(pair.Close)
	}
	return pair, err
}

// echoCable makes the cable of the echo.
func (b *bed) echoCable() (err error) {
	b.echo, err = b.cable()
	return err
}

// serve starts a target of that name for a new image in dir, and waits until the
// disk answers.
func (b *bed) serve(name, dir string, command func(image, eth string) []string) error {
	pair, err := b.cable()
	if err != nil {
		return err
	}
	image, err := b.image(dir, name)
	if err != nil {
		return err
	}
	if err := b.startTarget(name, pair, command(image, pair.B.Interface)); err != nil {
		return err
	}
	return b.waitAnswer(pair.A)
}

func (b *bed) startTarget(name string, pair *veth.Pair, command []string) error {
	p, err := startTarget(pair, command)
	if err != nil {
		return fmt.Errorf("%w (apt-get install %s)", err, filepath.Base(command[0]))
	}
	b.keep(name, p)
	return nil
}

func (b *bed) keep(name string, p *process) {
	b.processes[name] = p
	b.push(p.stop)
}

// serveOurs starts our target.
func (b *bed) serveOurs(name, dir string, flags ...string) error {
	return b.serve(name, dir, func(image, eth string) []string {
		return slices.Concat([]string{b.binary, "serve", "-i", eth}, flags, []string{diskAddr, image})
	})
}

// serveTheirs starts vblade.
func (b *bed) serveTheirs(name, dir string, flags ...string) error {
	return b.serve(name, dir, func(image, eth string) []string {
		return slices.Concat([]string{"vblade"}, flags, []string{"1", "1", eth, image})
	})
}

// serveBare starts the loop that only reads or writes the file.
func (b *bed) serveBare(name string) error {
	pair, err := b.cable()
	if err != nil {
		return err
	}
	image, err := b.image(b.dir, name)
	if err != nil {
		return err
	}
	command, err := roleCommand(bareRole, pair.B.Interface, image)
	if err != nil {
		return err
	}
	p, err := startReady(pair, asTarget(pair), command)
	if err == nil {
		b.keep(name, p)
	}
	return err
}

// waitAnswer pings until the disk answers; each ping waits by itself.
func (b *bed) waitAnswer(from *veth.Host) error {
	var out []byte
	var err error
	for range 20 {
		cmd := b.command(from, "ping", "-i", from.Interface, "-c", "1", diskAddr)
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer: %w\n%s", diskAddr, err, out)
}

// command is a subcommand of aoe on a host, in a run directory of its own.
func (b *bed) command(host *veth.Host, args ...string) *veth.Cmd {
	cmd := host.Command(b.binary, args...)
	cmd.Env = append(os.Environ(), b.runDir())
	return cmd
}

// runDir keeps away from other disks that are attached to this machine.
func (b *bed) runDir() string { return "AOE_RUN_DIR=" + filepath.Join(b.dir, "run") }

// appears waits for a file that p makes when it is ready. Nothing tells of it.
func appears(ctx context.Context, p *process, path string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended", p.cmd)
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", p.cmd, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// tool runs a program of the system that prints a line or nothing.
func tool(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}
