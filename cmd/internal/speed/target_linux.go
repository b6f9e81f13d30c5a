package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"aoe/frame/link/veth"
)

// A target is a process that serves a disk at the far end of a cable.
type target struct {
	cmd  *exec.Cmd
	pair *veth.Pair
}

func startTarget(pair *veth.Pair, command []string) (*target, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	// A measurement that is killed takes its targets with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pair.B.Do(func() error { return onTargetProcessors(cmd.Start) }); err != nil {
		return nil, err
	}
	return &target{cmd, pair}, nil
}

func (t *target) stop() error {
	if err := t.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = t.cmd.Wait() // "signal: killed"
	return t.pair.Close()
}

// clockTick is the unit of times in /proc/PID/stat: sysconf(_SC_CLK_TCK), which
// is 100 Hz on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the processor time of the process so far, user and system.
func (t *target) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", t.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name is in parentheses and may hold spaces; utime and stime are
	// fields 14 and 15 (proc(5)), the state behind the name is field 3.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, f := range fields[14-3 : 16-3] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// peakMemory is VmHWM of proc(5), the most resident memory so far, as text.
func (t *target) peakMemory() string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.cmd.Process.Pid))
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
