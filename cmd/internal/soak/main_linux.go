package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"aoe/frame/link/veth"
)

// A config is the command line, of all three processes.
type config struct {
	length, every, warm time.Duration
	block, depth, mtu   int
	loss                float64

	role, ifname, image string // of the two that are started by the first
}

func main() {
	var c config
	flag.DurationVar(&c.length, "time", time.Hour, "how long to measure")
	flag.DurationVar(&c.every, "every", time.Minute, "time between lines")
	flag.DurationVar(&c.warm, "warm", 5*time.Second, "load before the baseline is taken")
	flag.IntVar(&c.block, "bs", 4096, "bytes of a request")
	flag.IntVar(&c.depth, "depth", 16, "requests in flight")
	flag.IntVar(&c.mtu, "mtu", 9000, "MTU of the cable")
	flag.Float64Var(&c.loss, "loss", 0.001, "probability that a frame is lost, in each direction")
	flag.StringVar(&c.role, "role", "", "used by the program itself")
	flag.StringVar(&c.ifname, "interface", "", "used by the program itself")
	flag.StringVar(&c.image, "image", "", "used by the program itself")
	flag.Parse()
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", strings.TrimSpace(c.role), err)
		os.Exit(1)
	}
}

func (c config) run() error {
	switch c.role {
	case "target":
		return serveImage(c)
	case "initiator":
		return useDisk(c)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return soak(ctx, c, os.Stdout)
}

// imageBytes is the size of the disk: small, so that it is written over often.
const imageBytes = 64 << 20

// soak runs the whole thing. An interrupt ends the measurement early, and what
// was measured until then is judged.
func soak(ctx context.Context, c config, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("/dev/shm", "aoe-soak-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c.image = filepath.Join(dir, "image")
	// Written whole, so that nobody pays for allocating it later.
	if err := os.WriteFile(c.image, make([]byte, imageBytes), 0o600); err != nil {
		return err
	}
	pair, err := veth.New(veth.Config{MTU: c.mtu})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	target, err := startWorker(pair.B, c, "target")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.stop()) }()
	// It has the file open when it answers, so that the name can go: then even
	// a kill of this process leaves nothing behind.
	if err := target.read(&reading{}); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	initiator, err := startWorker(pair.A, c, "initiator")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, initiator.stop()) }()
	return measure(ctx, c, w, initiator, target)
}

// measure takes readings until the time is over.
func measure(ctx context.Context, c config, w io.Writer, initiator, target *worker) error {
	r := &report{w, &process{name: "initiator", bounds: initiatorBounds}, &process{name: "target", bounds: targetBounds}}
	look := func() error {
		r.initiator.last, r.target.last = r.initiator.now, r.target.now
		return errors.Join(initiator.read(&r.initiator.now), target.read(&r.target.now))
	}
	if err := look(); err != nil { // it answers when it is under load
		return err
	}
	if !sleep(ctx, c.warm) {
		return errors.New("interrupted before the baseline")
	}
	if err := errors.Join(look(), r.header()); err != nil {
		return err
	}
	r.initiator.base, r.target.base = r.initiator.now, r.target.now
	began := time.Now()
	for last := began; time.Since(began) < c.length && ctx.Err() == nil; {
		sleep(ctx, min(c.every, c.length-time.Since(began)))
		if err := look(); err != nil {
			return err
		}
		now := time.Now()
		after := now.Sub(began).Round(time.Second).String()
		if err := r.rows(after, now.Sub(last), func(p *process) reading { return p.last }); err != nil {
			return err
		}
		last = now
		if r.initiator.now.Errors+r.initiator.now.Wrong > 0 {
			break
		}
	}
	if err := r.rows("in all", time.Since(began), func(p *process) reading { return p.base }); err != nil {
		return err
	}
	if bad := r.complaints(); len(bad) > 0 {
		return errors.New("not flat:\n  " + strings.Join(bad, "\n  "))
	}
	_, err := fmt.Fprintln(w, "flat")
	return err
}

// sleep reports whether the time is over, and not ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A worker is one of the two processes.
type worker struct {
	name  string
	cmd   *veth.Cmd
	ask   io.WriteCloser
	reply io.Reader
	wire  []byte
}

// startWorker starts this program again, on another host and in another role.
func startWorker(host *veth.Host, c config, role string) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &worker{name: role, wire: make([]byte, readingBytes)}
	w.cmd = host.Command(self, "-role", role, "-interface", host.Interface, "-image", c.image,
		"-bs", fmt.Sprint(c.block), "-depth", fmt.Sprint(c.depth), "-loss", fmt.Sprint(c.loss))
	w.cmd.Stderr = os.Stderr
	// An interrupt from the terminal is for the one that started them: they
	// end when their standard input does.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if w.ask, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if w.reply, err = w.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	return w, nil
}

// read asks the process for a reading, and waits for it.
func (w *worker) read(r *reading) error {
	if _, err := w.ask.Write([]byte{'?'}); err != nil {
		return fmt.Errorf("the %s is gone: %w", w.name, err)
	}
	if _, err := io.ReadFull(w.reply, w.wire); err != nil {
		return fmt.Errorf("the %s is gone: %w", w.name, err)
	}
	return binary.Read(bytes.NewReader(w.wire), binary.LittleEndian, r)
}

// endTime is how long a process may take to end before it is killed.
const endTime = 30 * time.Second

func (w *worker) stop() error {
	err := w.ask.Close()
	kill := time.AfterFunc(endTime, func() { _ = w.cmd.Process.Kill() }) // if it has ended meanwhile, Wait says how
	defer kill.Stop()
	if waited := w.cmd.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("the %s: %w", w.name, waited))
	}
	return err
}
