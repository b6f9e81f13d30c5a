package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"

	"golang.org/x/sys/unix"
)

// A gauge takes readings of its own process.
type gauge struct {
	samples []metrics.Sample
	status  *os.File // /proc/self/status, open for good
	text    [4096]byte
	wire    []byte
}

func newGauge() (*gauge, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return nil, err
	}
	return &gauge{
		samples: []metrics.Sample{
			{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
		},
		status: f, wire: make([]byte, readingBytes),
	}, nil
}

func (g *gauge) read(r *reading) error {
	metrics.Read(g.samples)
	r.Allocations, r.AllocatedBytes = g.samples[0].Value.Uint64(), g.samples[1].Value.Uint64()
	r.Collections = g.samples[2].Value.Uint64()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return fmt.Errorf("getrusage: %w", err)
	}
	r.MinorFaults, r.MajorFaults = uint64(u.Minflt), uint64(u.Majflt)
	r.Goroutines = uint64(runtime.NumGoroutine())
	n, err := g.status.ReadAt(g.text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.RSS, r.Threads = field(g.text[:n], "VmRSS:")<<10, field(g.text[:n], "Threads:")
	return nil
}

// field finds a line like "VmRSS:	   24404 kB" of proc(5), without allocating.
func field(text []byte, name string) (v uint64) {
	i := bytes.Index(text, []byte(name))
	if i < 0 {
		return 0
	}
	for _, c := range bytes.TrimLeft(text[i+len(name):], " \t") {
		if c < '0' || c > '9' {
			break
		}
		v = v*10 + uint64(c-'0')
	}
	return v
}

// tell sends a reading for every byte that is asked for, until in ends: that is
// how the process that started us says that it wants no more, or is gone.
func (g *gauge) tell(in io.Reader, out io.Writer, fill func(*reading)) error {
	var ask [1]byte
	var r reading
	for {
		if _, err := in.Read(ask[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		fill(&r)
		if err := g.read(&r); err != nil {
			return err
		}
		if _, err := binary.Encode(g.wire, binary.LittleEndian, &r); err != nil {
			return err
		}
		if _, err := out.Write(g.wire); err != nil {
			return err
		}
	}
}
