package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"aoe/frame/link/veth"
)

// A process is a target, or what is between one and a client.
type process struct {
	cmd  *exec.Cmd
	pair *veth.Pair // the cable that leads to it
	// at is what fio opens: a URI or a block device. Empty where there is
	// nothing.
	at    string
	quit  syscall.Signal // what ends it
	ended chan struct{}  // closed when it has ended
}

// startTarget starts a target at the far end of a cable.
func startTarget(pair *veth.Pair, command []string) (*process, error) {
	p := newProcess(pair, syscall.SIGKILL, command)
	return p, p.start(asTarget(pair))
}

// asTarget starts what is a target: at the far end of its cable, on the processors
// of targets.
func asTarget(pair *veth.Pair) (within func(start func() error) error) {
	return func(start func() error) error {
		return pair.B.Do(func() error { return onTargetProcessors(start) })
	}
}

// startReady starts what prints a line when it is ready, which says where the
// disk is, if there is one, and which undoes what it did when it is told to end.
func startReady(pair *veth.Pair, within func(start func() error) error, command []string) (*process, error) {
	p := newProcess(pair, syscall.SIGTERM, command)
	stdout, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.start(within)
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s was never ready: %w", p.cmd, err), p.stop())
	}
	p.at = strings.TrimSpace(line)
	return p, nil
}

func newProcess(pair *veth.Pair, quit syscall.Signal, command []string) *process {
	p := &process{cmd: exec.Command(command[0], command[1:]...), pair: pair, quit: quit, ended: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	// A measurement that is killed takes its processes with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: quit}
	return p
}

func (p *process) start(within func(start func() error) error) error {
	if err := within(p.cmd.Start); err != nil {
		return err
	}
	go func() { // ends with the process
		_, _ = p.cmd.Process.Wait() // "signal: killed"
		close(p.ended)
	}()
	return nil
}

// stopPatience is how long a process may take to undo what it did.
const stopPatience = 30 * time.Second

// stop ends the process.
func (p *process) stop() error {
	err := p.cmd.Process.Signal(p.quit)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // interrupted from the terminal, as we were
	}
	select {
	case <-p.ended:
		return err
	case <-time.After(stopPatience):
	}
	err = errors.Join(fmt.Errorf("%s does not end", p.cmd), err, p.cmd.Process.Kill())
	<-p.ended
	return err
}

// clockTick is the unit of times in /proc/PID/stat: sysconf(_SC_CLK_TCK), which
// is 100 Hz on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cable leads to the process, if there is one.
func (p *process) cable() *veth.Pair {
	if p == nil {
		return nil
	}
	return p.pair
}

// cpu is the processor time of the process so far, user and system. That of none
// is zero.
func (p *process) cpu() (time.Duration, error) {
	u, err := p.times()
	return u.user + u.system, err
}

// peakMemory is VmHWM of proc(5), the most resident memory so far, as text.
func (p *process) peakMemory() string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
