package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"aoe/cmd/internal/orphan"
	"aoe/cmd/internal/scratch"
	"aoe/frame/link/veth"
)

// dirPattern is the name of a machine's directory.
const dirPattern = "aoe-guest-*"

// Run boots the machine, waits until it has ended and removes all that was made
// for it. The error is about what is around the guest; how the guest itself fared
// is in the Output.
func (k *Kernel) Run(ctx context.Context, m Machine) (*Output, error) {
	return k.run(ctx, m, k.linuxArgs)
}

// run is Run with QEMU's arguments made by args, which may write files into dir.
func (k *Kernel) run(ctx context.Context, m Machine, args func(m Machine, dir string) (args, missing []string, err error)) (out *Output, err error) {
	m, err = m.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := scratch.Sweep(m.parentDir(), dirPattern, os.RemoveAll); err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	dir, lock, err := scratch.New(m.parentDir(), dirPattern)
	if err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir), lock.Close()) }()
	qemu, missing, err := args(m, dir)
	if err != nil {
		return nil, err
	}
	paths, err := makeDisks(dir, m)
	if err != nil {
		return nil, err
	}
	out, err = k.among(ctx, m, dir, paths, qemu)
	if out != nil {
		out.NoModule = missing
		if m.Ended != nil {
			err = errors.Join(err, m.Ended(out, paths))
		}
	}
	return out, err
}

// among runs QEMU on a network of its own, beside a target.
func (k *Kernel) among(ctx context.Context, m Machine, dir string, paths, qemu []string) (out *Output, err error) {
	n, err := newNetwork(m.MTU, m.Interfaces)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if m.Capture != nil {
		end, err := n.capture(m.Capture)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	disks, err := k.serve(n, m, dir, paths)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disks.close()) }()
	c := &Control{net: n, disks: disks, paths: paths, qmpPath: filepath.Join(dir, qmpSocket)}
	defer func() { err = errors.Join(err, c.endFloods()) }()
	return c.boot(ctx, m, qemu)
}

func (m Machine) parentDir() string {
	if m.Dir != "" {
		return m.Dir
	}
	// Memory, so that the target is never what is slow.
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// A Control acts on a guest that runs. Its methods are for Machine.Watch.
type Control struct {
	net     network
	disks   served
	paths   []string // of the disks' files
	qmpPath string
	keys    io.Writer // the serial port's input
	stop    func()
	floods  []*flood

	mu      sync.Mutex
	stopped bool
}

// Stop ends the guest at once.
func (c *Control) Stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.stop()
}

func (c *Control) wasStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// Silence makes the i-th disk's target fall silent for good.
func (c *Control) Silence(i int) error { return c.disks.silence(diskAddr(i)) }

// Grow makes the i-th disk's file sizeBytes large, while the disk is served.
func (c *Control) Grow(i int, sizeBytes int64) error {
	if err := os.Truncate(c.paths[i], sizeBytes); err != nil {
		return fmt.Errorf("guest: grow a disk: %w", err)
	}
	return nil
}

// SetTargetUp takes the target's i-th interface down, or up again.
func (c *Control) SetTargetUp(i int, up bool) error { return c.net.setTargetUp(i, up) }

// killAfter is what timeout(1) grants QEMU to end when asked to.
const killAfter = 5 * time.Second

// boot runs QEMU and follows its serial port. QEMU runs beneath timeout(1), which
// ends it also when this process was killed.
func (c *Control) boot(ctx context.Context, m Machine, args []string) (*Output, error) {
	args = append([]string{
		"-k", seconds(killAfter), seconds(m.Timeout + time.Minute), "qemu-system-x86_64",
	}, args...)
	cmd := c.net.Hosts[guestHost].Command("timeout", args...)
	cmd.Env = append(os.Environ(), orphan.Mark(filepath.Dir(c.qmpPath))) // for aoe lab clean
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	serial, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	c.keys = in
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guest: start QEMU: %w", err)
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	c.stop = cancel
	var wg sync.WaitGroup
	wg.Go(func() { // ends with QEMU
		select {
		case <-ctx.Done():
			end(cmd)
		case <-ended:
		}
	})
	out := &Output{End: Vanished}
	err = c.follow(serial, m, out)
	_ = cmd.Wait() // what QEMU's status says, the serial port said better
	close(ended)
	wg.Wait()
	switch {
	case err != nil:
		return out, err
	case out.End != Vanished:
	case c.wasStopped():
		out.End = Stopped
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		out.End = TimedOut
	case ctx.Err() != nil:
		return out, ctx.Err()
	case complaints.Len() > 0:
		return out, fmt.Errorf("guest: QEMU: %s", bytes.TrimSpace(complaints.Bytes()))
	}
	return out, nil
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + "s" }

// end asks timeout(1) to end, which passes that on to QEMU.
func end(cmd *veth.Cmd) {
	_ = cmd.Process.Signal(os.Interrupt) // gone already: all the better
}

// maxSerial bounds the log of a guest that does nothing but complain.
const maxSerial = 8 << 20

// follow reads the serial port to its end and notes what the lines tell.
func (c *Control) follow(serial io.Reader, m Machine, out *Output) error {
	type read struct {
		line string
		err  error
	}
	reads := make(chan read)
	var wg sync.WaitGroup
	wg.Go(func() { // ends with QEMU, which closes the port
		for l := newLines(serial); ; {
			line, err := l.next()
			reads <- read{line, err}
			if err != nil {
				return
			}
		}
	})
	defer wg.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	s := &serialLog{m: m, out: out}
	for {
		select {
		case <-tick.C:
			if m.Tick != nil {
				m.Tick(c)
			}
		case r := <-reads:
			if r.line != "" || r.err == nil {
				if err := s.add(r.line); err != nil {
					c.Stop()
				}
				if m.Watch != nil {
					m.Watch(r.line, c)
				}
			}
			if r.err != nil {
				return s.end()
			}
		}
	}
}

// A serialLog notes what the lines of a serial port tell.
type serialLog struct {
	m     Machine
	out   *Output
	began time.Time // when the script began
	err   error     // the first of writing to m.Serial
}

func (s *serialLog) add(line string) error {
	out := s.out
	if len(out.Serial) < maxSerial {
		out.Serial = append(append(out.Serial, line...), '\n')
	}
	if s.m.Serial != nil && !s.began.IsZero() && s.err == nil {
		_, s.err = io.WriteString(s.m.Serial, line+"\n")
	}
	switch said, ok := Said(line); {
	case ok && said == "begins":
		s.began = time.Now()
	case ok && strings.HasPrefix(said, "exit status "):
		if n, err := strconv.Atoi(said[len("exit status "):]); err == nil {
			out.End, out.Status, out.Took = Exited, n, time.Since(s.began)
		}
	case strings.Contains(line, "Kernel panic - not syncing") && out.End == Vanished:
		out.End, out.Took = Panicked, time.Since(s.began)
	}
	return s.err
}

func (s *serialLog) end() error {
	if s.out.Took == 0 && !s.began.IsZero() {
		s.out.Took = time.Since(s.began)
	}
	if s.err != nil {
		return fmt.Errorf("guest: %w", s.err)
	}
	return nil
}

// Said is what the guest's own programs said in a line of the kernel's log:
// "[   12.345678] guest: begins" is "begins".
func Said(line string) (said string, ok bool) {
	_, rest, ok := strings.Cut(line, "] guest: ")
	if !ok || !strings.HasPrefix(line, "[") {
		return "", false
	}
	return rest, true
}
