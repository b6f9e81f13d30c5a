package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"aoe/frame"
	"aoe/frame/link/veth"
)

// A process is aoe serve, in a process of its own.
type process struct {
	cmd  *veth.Cmd
	wg   sync.WaitGroup // who reads what it prints
	said bytes.Buffer   // on standard error
}

// errSilence is why a disk of a process cannot be silenced.
var errSilence = errors.New("guest: aoe serve takes no disk away: use the target own")

// serveProcess runs aoe serve, the binary that the guest gets too, and returns
// when it serves. It runs beneath timeout(1), which ends it also when this process
// was killed.
func (k *Kernel) serveProcess(n network, m Machine, dir string, paths []string) (*process, error) {
	binary := filepath.Join(dir, "aoe")
	if err := os.WriteFile(binary, k.aoe, 0o700); err != nil {
		return nil, fmt.Errorf("guest: %w", err)
	}
	// --foreground: otherwise it passes a signal on twice, and the second interrupt
	// ends aoe at once.
	args := []string{"--foreground", "-k", seconds(killAfter), seconds(m.Timeout + 2*time.Minute), binary, "serve", "--verbose"}
	if m.WriteBack {
		args = append(args, "--mode", "flush")
	}
	for i := range m.Interfaces {
		args = append(args, "-i", interfaceName(i))
	}
	if len(paths) == 1 {
		args = append(args, "--serial", "guest") // the same in every capture
	}
	for i, path := range paths {
		args = append(args, diskAddr(i).String(), path)
	}
	p := &process{cmd: n.Hosts[targetHost].Command("timeout", args...)}
	p.cmd.Stderr = &p.said
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("guest: start aoe serve: %w", err)
	}
	r := bufio.NewReader(out)
	// It prints what it serves when it does.
	if _, err := r.ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("guest: aoe serve did not begin: %w", err), p.close())
	}
	p.wg.Go(func() { _, _ = io.Copy(io.Discard, r) }) // ends with the process
	return p, nil
}

func (p *process) silence(frame.Addr) error { return errSilence }

// close lets it end as an operator would. What it said is told if it did not end
// well.
func (p *process) close() error {
	_ = p.cmd.Process.Signal(os.Interrupt) // gone already: Wait tells
	p.wg.Wait()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("guest: aoe serve: %w: %s", err, bytes.TrimSpace(p.said.Bytes()))
	}
	return nil
}
