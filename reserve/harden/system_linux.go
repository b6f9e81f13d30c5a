package harden

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A linux is the machine this runs on.
type linux struct {
	allocated []metrics.Sample
	settings  [sysctls]setting
	digits    [16]byte
}

// A setting is the file of a sysctl.
type setting struct {
	file   *os.File // once it was opened
	denied error    // why it can only be read
}

func realSystem() system {
	return &linux{allocated: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}}
}

// executedVariable holds the number of the process that was executed again:
// execve(2) keeps it, a child has another.
const executedVariable = "AOE_IO_FLUSHER"

func (*linux) executed() bool { return os.Getenv(executedVariable) == strconv.Itoa(os.Getpid()) }

// timerSlack is how late a sleep of an ordinary thread may end. The runtime's monitor
// sleeps for 20 us at a time while threads stay in system calls and come back, which
// at some hundred requests a second is always; with the kernel's slack of 50 us that
// took a tenth of the processor of an emulated machine. Nothing waits for the
// monitor here: there are more processors of the runtime than goroutines that run
// (running). The disk's deadlines are a timerfd's, and real-time threads have no slack.
// "The timer slack value is inherited by a child ... and is preserved across
// execve" (PR_SET_TIMERSLACK(2const)).
const timerSlack = time.Millisecond

// execAsIOFlusher: "The calling process must have the CAP_SYS_RESOURCE
// capability"; "arg3, arg4, and arg5 must be zero" (PR_SET_IO_FLUSHER(2const)),
// which is why prctl gets all five arguments.
func (*linux) execAsIOFlusher() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	env := append(os.Environ(), executedVariable+"="+strconv.Itoa(os.Getpid()))
	runtime.LockOSThread() // the flag is the thread's, and execve keeps that of the caller
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_IO_FLUSHER: %w", err)
	}
	if err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0); err != nil {
		err = fmt.Errorf("prctl PR_SET_TIMERSLACK: %w", err)
	} else {
		err = fmt.Errorf("execve: %w", unix.Exec(self, os.Args, env))
	}
	// Nobody else has the flag, so it would be of no use here.
	return errors.Join(err, unix.Prctl(unix.PR_SET_IO_FLUSHER, 0, 0, 0, 0))
}

// The two flags that PR_SET_IO_FLUSHER sets (PR_IO_FLUSHER in kernel/sys.c, and
// include/linux/sched.h).
const (
	pfMemallocNoIO  = 0x00080000
	pfLocalThrottle = 0x00100000
)

func (*linux) threads() (all []thread, err error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := os.ReadFile("/proc/self/task/" + e.Name() + "/stat")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		t, err := parseThread(string(text))
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", e.Name(), err)
		}
		all = append(all, t)
	}
	return all, nil
}

// parseThread reads a line of proc_pid_stat(5): "pid (comm) state ppid pgrp
// session tty_nr tpgid flags ...". The name may hold spaces and parentheses.
func parseThread(line string) (thread, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return thread{}, fmt.Errorf("%q has no name in it", line)
	}
	id, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return thread{}, err
	}
	const flagsField = 9 - 3 // the state, field 3, is the first behind the name
	fields := strings.Fields(line[end+1:])
	if len(fields) <= flagsField {
		return thread{}, fmt.Errorf("%q has no flags in it", line)
	}
	flags, err := strconv.ParseUint(fields[flagsField], 10, 32)
	if err != nil {
		return thread{}, err
	}
	const both = pfMemallocNoIO | pfLocalThrottle
	return thread{id: id, ioFlusher: flags&both == both}, nil
}

// makeThreads lets n goroutines wait in a system call at the same time, each of
// them on a thread that is its own. The runtime never ends a thread that its
// goroutine gives back, but keeps it for the next that needs one.
func (*linux) makeThreads(n int) (err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	var there, done sync.WaitGroup
	there.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			there.Done() // from here on no other goroutine can use this thread
			var b [1]byte
			for {
				// unix.Read and not os.File: that would wait without a thread.
				if _, err := unix.Read(ends[0], b[:]); err != unix.EINTR {
					return // the end of the pipe
				}
			}
		})
	}
	there.Wait()
	err = unix.Close(ends[1])
	done.Wait()
	return errors.Join(err, unix.Close(ends[0]))
}

// allowRunning is set even to what it is: the runtime then no longer looks every
// second whether the limits of its control group have changed.
func (*linux) allowRunning(n int) { runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), n)) }

// setRealTime: threads that this one makes are not to be: "SCHED_FLAG_RESET_ON_FORK
// ... children do not inherit privileged scheduling policies" (sched(7)). The
// priority is the lowest there is: the point is the kernel's memory, not the
// processor.
func (*linux) setRealTime() error {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	if err != nil {
		return fmt.Errorf("sched_setattr SCHED_RR: %w", err)
	}
	return nil
}

func (*linux) setOOMScore(score int) error {
	return os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}

// sysctl keeps the file open: opening it would take memory, and would have
// to be done when there is none.
func (l *linux) sysctl(s sysctl) (int, error) {
	set := &l.settings[s]
	if set.file == nil {
		path := "/proc/sys/" + strings.ReplaceAll(s.String(), ".", "/")
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			if f, set.denied = os.Open(path); set.denied != nil {
				return 0, set.denied
			}
			set.denied = err
		}
		set.file = f
	}
	n, err := set.file.ReadAt(l.digits[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	return parseCount(l.digits[:n])
}

// parseCount reads a number and the end of the line, without the string that
// strconv would need.
func parseCount(b []byte) (n int, err error) {
	for i, c := range b {
		if c == '\n' && i > 0 {
			return n, nil
		}
		if c < '0' || c > '9' || n > math.MaxInt32 {
			break
		}
		n = 10*n + int(c-'0')
	}
	return 0, fmt.Errorf("%q is not a number", b)
}

func (l *linux) setSysctl(s sysctl, n int) error {
	set := &l.settings[s]
	if set.denied != nil {
		return set.denied
	}
	_, err := set.file.WriteAt(strconv.AppendInt(l.digits[:0], int64(n), 10), 0)
	return err
}

func (*linux) total() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}

// collect gives back what start-up has left, so that it is not locked, and then
// brings in what is to spare. The heap is filled from its lowest free address on,
// so what is brought in now is what will be used first.
//
// The order is what keeps the runtime's scavenger from giving that back: its goal
// is set when the collector's is, and with the collector off there is none.
// Locked pages cannot be given back: the runtime would map them anew, and that
// waits for memory.
func (*linux) collect(grow int) {
	debug.SetMemoryLimit(math.MaxInt64) // as if GOMEMLIMIT were not set
	if grow > 0 {
		runtime.GC() // and once more: what a sync.Pool holds outlives one collection
		debug.FreeOSMemory()
		touch(grow)
	}
	runtime.GC()
	debug.SetGCPercent(-1)
}

// touch makes n bytes of heap that are in memory, and garbage. They are made of
// the smallest pieces that the runtime keeps account of one by one (its page is
// 8 KiB), so that they fill every hole, and the accounts, which are not on the
// heap, are in memory as well.
func touch(n int) {
	const piece = 8 << 10
	pieces := make([][]byte, n/piece)
	for i := range pieces {
		pieces[i] = make([]byte, piece)
		for at := 0; at < piece; at += 4 << 10 {
			pieces[i][at] = 1
		}
	}
	runtime.KeepAlive(pieces)
}

func (l *linux) heapAllocated() uint64 {
	metrics.Read(l.allocated)
	return l.allocated[0].Value.Uint64()
}
