package orphan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Self is this process.
func Self() (Process, error) {
	s, err := look(os.Getpid())
	return s.Process, err
}

// A state is more of a process than others have to know.
type state struct {
	Process
	letter byte // "R", "S", "D", "Z", ...
	parent int
}

// look reads /proc/PID/stat: "pid (comm) state ppid pgrp ... starttime", where
// comm may hold anything, also ")" (proc_pid_stat(5)).
func look(pid int) (s state, err error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return s, fmt.Errorf("orphan: %s is not understood: %q", path, text)
	}
	// Behind comm, the first is field 3.
	fields := strings.Fields(string(text[shut+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return s, fmt.Errorf("orphan: %s is not understood: %q", path, text)
	}
	s.PID, s.Name, s.letter = pid, string(text[open+1:shut]), fields[0][0]
	var errs [3]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	s.Group, errs[1] = strconv.Atoi(fields[2])
	s.Start, errs[2] = strconv.ParseUint(fields[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

func (s state) ended() bool { return s.letter == 'Z' || s.letter == 'X' }

// Dying reports whether p was killed and has not ended: what it holds is still
// held, as by a thread that waits in the kernel for a device which p served
// itself. When the first thread has ended and others have not, p is a zombie;
// when it is the first that waits, SIGKILL is pending.
func (p Process) Dying() bool {
	s, err := look(p.PID)
	if err != nil || s.Start != p.Start {
		return false
	}
	return s.ended() || killPending(p.PID)
}

// killPending reads "SigPnd: 0000000000000100" and "ShdPnd:" in
// /proc/PID/status: "mask of signals pending", of which SIGKILL is number 9.
func killPending(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && mask&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// Find lists the processes that carry the mark of dir.
func Find(dir string) ([]Process, error) {
	own, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	mark := []byte(Mark(dir))
	return list(func(s state) bool {
		// What is not ours to read is not of our starting. An empty one is a
		// thread of the kernel's.
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.PID))
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) }) {
			return false
		}
		theirs, err := os.Stat(filepath.Join(fmt.Sprintf("/proc/%d/root", s.PID), dir))
		return err == nil && os.SameFile(own, theirs)
	})
}

// list is the processes that match, but for ended ones, this one and those above
// it.
func list(match func(state) bool) ([]Process, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	above := lineage()
	var found []Process
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || slices.Contains(above, pid) {
			continue
		}
		// An error: it has ended since.
		if s, err := look(pid); err == nil && !s.ended() && match(s) {
			found = append(found, s.Process)
		}
	}
	return found, nil
}

// lineage is this process, its parent, and so on.
func lineage() (pids []int) {
	for pid := os.Getpid(); pid > 0 && !slices.Contains(pids, pid); {
		pids = append(pids, pid)
		s, err := look(pid)
		if err != nil {
			break
		}
		pid = s.parent
	}
	return pids
}

// Dirs are the directories whose marks processes carry, once each.
func Dirs() (dirs []string, err error) {
	prefix := []byte(Mark(""))
	_, err = list(func(s state) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.PID))
		if err != nil {
			return false // it has ended, or is not ours to look at
		}
		for _, v := range bytes.Split(env, []byte{0}) {
			if dir, ok := bytes.CutPrefix(v, prefix); ok && filepath.IsAbs(string(dir)) {
				dirs = append(dirs, filepath.Clean(string(dir)))
			}
		}
		return false
	})
	slices.Sort(dirs)
	return slices.Compact(dirs), err
}
