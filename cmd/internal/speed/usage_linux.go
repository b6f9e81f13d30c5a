package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A usage is what a process has used so far, or for each request.
type usage struct {
	user, system time.Duration
	switches     float64 // of its threads, off a processor; nothing of those that have ended
	calls        float64 // that read or write, as the kernel counts
}

// usage is what the process has used so far. That of none is nothing.
func (p *process) usage() (usage, error) {
	u, err := p.times()
	if err != nil || p == nil {
		return u, err
	}
	dir := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	io, err := os.ReadFile(filepath.Join(dir, "io"))
	if err != nil {
		return u, err
	}
	// "number of read I/O operations: system calls such as read(2)", and write
	// (proc_pid_io(5)): vectored ones too, but neither send nor wait.
	u.calls = sumOf(string(io), "syscr:", "syscw:")
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "status"))
	if err != nil {
		return u, err
	}
	for _, t := range threads {
		status, err := os.ReadFile(t)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return u, err
		}
		u.switches += sumOf(string(status), "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
	}
	return u, nil
}

// times are the process's processor times so far.
func (p *process) times() (u usage, err error) {
	if p == nil {
		return u, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	// The name is in parentheses and may hold spaces; utime and stime are
	// fields 14 and 15 (proc(5)), the state behind the name is field 3.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	for i, to := range []*time.Duration{&u.user, &u.system} {
		n, err := strconv.ParseInt(fields[14-3+i], 10, 64)
		if err != nil {
			return u, err
		}
		*to = time.Duration(n) * clockTick
	}
	return u, nil
}

// sumOf adds up the numbers behind names in lines of text; a line without a number
// counts for nothing.
func sumOf(text string, names ...string) (sum float64) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for _, name := range names {
			if len(fields) < 2 || fields[0] != name {
				continue
			}
			if n, err := strconv.ParseFloat(fields[1], 64); err == nil {
				sum += n
			}
		}
	}
	return sum
}

// since is what was used since before, for each of n requests.
func (u usage) since(before usage, n uint64) usage {
	each := time.Duration(n)
	return usage{
		user: (u.user - before.user) / each, system: (u.system - before.system) / each,
		// Fewer than before when a thread has ended, with its count.
		switches: max(u.switches-before.switches, 0) / float64(n), calls: (u.calls - before.calls) / float64(n),
	}
}
