package harden

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// A Step is one measure and its outcome.
type Step struct {
	Name string `json:"name"`
	// Did is what was done or found, in words.
	Did string `json:"did"`
	// Failure is why it failed, empty if it did not; then Costs is what the
	// machine is exposed to without it, and Remedy what to do about it.
	Failure string `json:"failure,omitempty"`
	Costs   string `json:"costs,omitempty"`
	Remedy  string `json:"remedy,omitempty"`

	err error
}

// Err is the failure, nil if there is none.
func (s Step) Err() error {
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("harden: %s: %w: %s. Without it %s", s.Name, s.err, s.Remedy, s.Costs)
}

// Steps are outcomes in the order in which the steps were taken.
type Steps []Step

// Failed are those that failed.
func (s Steps) Failed() (failed Steps) {
	for _, step := range s {
		if step.Failure != "" {
			failed = append(failed, step)
		}
	}
	return failed
}

// Done reports whether the step was taken and did not fail.
func (s Steps) Done(name string) bool {
	for _, step := range s {
		if step.Name == name {
			return step.Failure == ""
		}
	}
	return false
}

// WriteTo prints a line for each step, and below a failed one what it costs and
// what to do.
func (s Steps) WriteTo(w io.Writer) (int64, error) {
	c := &countingWriter{w: w}
	tab := tabwriter.NewWriter(c, 0, 0, 2, ' ', 0)
	for _, step := range s {
		if step.Failure == "" {
			fmt.Fprintf(tab, "%s\tdone\t%s\n", step.Name, step.Did)
			continue
		}
		fmt.Fprintf(tab, "%s\tFAILED\t%s\n\t\twithout it %s\n\t\tto mend it: %s\n", step.Name, step.Failure, step.Costs, step.Remedy)
	}
	return c.n, errors.Join(tab.Flush(), c.err)
}

type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n, c.err = c.n+int64(n), err
	return n, err
}

// The names of the steps, in their order.
const (
	IOFlusher = "io-flusher"
	OOMScore  = "oom-score"
	MinFree   = "min-free"
	Boost     = "boost"
	Threads   = "threads"
	RealTime  = "real-time"
	Warm      = "warm"
	Heap      = "heap"
	Lock      = "lock"
)

// consequences of a step that failed. The figures are of a 384 MiB guest that
// swapped on a disk served by one of its own processes.
var consequences = map[string]struct{ costs, remedy string }{
	IOFlusher: {
		"an allocation of this process may wait for a page to be written to the very disk that it serves",
		"run it with CAP_SYS_RESOURCE (AmbientCapabilities=CAP_SYS_RESOURCE in a unit) on Linux 5.6 or newer",
	},
	OOMScore: {
		"the kernel may kill this process for memory, and with it the swap of all others",
		"OOMScoreAdjust=-1000 in a unit, or CAP_SYS_RESOURCE",
	},
	MinFree: {
		"bursts of writing leave the kernel nothing to receive the answers with",
		"sysctl -w vm.min_free_kbytes=16384, or a twenty-fourth of a small machine's memory",
	},
	Boost: {
		"what the kernel keeps free may grow when memory is fragmented, by several times, until it has reclaimed as much: it waits for the disk, and the disk's frames for that memory",
		"sysctl -w vm.watermark_boost_factor=0",
	},
	Threads: {
		"a thread may have to be made when there is no memory for its stack",
		"raise the limit of processes (ulimit -u, TasksMax= in a unit)",
	},
	RealTime: {
		"the disk's threads wait for a processor behind everybody who waits for them, and may not touch the last of the kernel's free memory: 1 of 8 runs survived",
		"CAP_SYS_NICE, or LimitRTPRIO=1 in a unit; raising vm.min_free_kbytes to 16384 replaces a part of it",
	},
	Warm: {
		"the first request of a kind may allocate when there is nothing to allocate from",
		"look at the failure: the disk should answer reads before it is swapped to",
	},
	Heap: {
		"the collector may run, and need memory, at any time",
		"look at the failure",
	},
	Lock: {
		"this process may be swapped out to the disk that it serves, and nobody can read it back: 0 of 4 runs survived",
		"CAP_IPC_LOCK, or LimitMEMLOCK=infinity in a unit (ulimit -l unlimited)",
	},
}
