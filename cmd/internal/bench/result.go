package bench

import (
	"fmt"
	"io"
	"time"

	"aoe/cmd/internal/show"
	"aoe/frame"
)

// A Result is what a run measured.
type Result struct {
	Addr      frame.Addr `json:"address"`
	Pattern   Pattern    `json:"rw"`
	BlockSize int        `json:"blockSizeBytes"`
	Depth     int        `json:"depth"`
	Seed      uint64     `json:"seed"`

	Requests uint64        `json:"requests"`
	Errors   uint64        `json:"errors"`
	Took     time.Duration `json:"nanoseconds"`
	IOPS     float64       `json:"iops"`
	MBps     float64       `json:"megabytesPerSecond"` // millions of bytes

	Latency Latency `json:"latency"`

	Retransmissions uint64 `json:"retransmissions"` // frames sent again
	FreedAtOnce     uint64 `json:"freedAtOnce"`     // frames received that were nobody's answer

	// CPU is user and system time of this process per request. Zero where the
	// system does not tell.
	CPU time.Duration `json:"cpuPerRequestNanoseconds"`
	// Waited counts requests that found no buffers at first: the reserve, and
	// not Depth, was the bound.
	Waited uint64 `json:"waitedForBuffers"`
}

// Latency is from Submit to the callback.
type Latency struct {
	Min  time.Duration `json:"minNanoseconds"`
	Mean time.Duration `json:"meanNanoseconds"`
	P50  time.Duration `json:"p50Nanoseconds"`
	P90  time.Duration `json:"p90Nanoseconds"`
	P99  time.Duration `json:"p99Nanoseconds"`
	P999 time.Duration `json:"p999Nanoseconds"`
	Max  time.Duration `json:"maxNanoseconds"`
}

func latencyOf(h *Histogram) Latency {
	return Latency{
		Min: h.Min(), Mean: h.Mean(), P50: h.Quantile(0.5), P90: h.Quantile(0.9),
		P99: h.Quantile(0.99), P999: h.Quantile(0.999), Max: h.Max(),
	}
}

// Print writes the result for a person.
func (r *Result) Print(w io.Writer) error {
	l := r.Latency
	_, err := fmt.Fprintf(w, `%s: %s, %s requests, depth %d, %s
  %s IOPS   %.1f MB/s   %s requests, %d errors
  latency  min %s  mean %s  p50 %s  p90 %s  p99 %s  p99.9 %s  max %s
  CPU %s per request (user and system, this side)
  %d frames sent again, %d received frames freed at once, %d requests waited for buffers
`,
		r.Addr, r.Pattern, show.Bytes(int64(r.BlockSize)), r.Depth, show.Duration(r.Took),
		show.Count(uint64(r.IOPS)), r.MBps, show.Count(r.Requests), r.Errors,
		show.Duration(l.Min), show.Duration(l.Mean), show.Duration(l.P50), show.Duration(l.P90),
		show.Duration(l.P99), show.Duration(l.P999), show.Duration(l.Max),
		show.Duration(r.CPU),
		r.Retransmissions, r.FreedAtOnce, r.Waited)
	return err
}

// A Pattern is what a run does: the words of fio(1).
type Pattern string

// The patterns.
const (
	Read      Pattern = "read"
	Write     Pattern = "write"
	RandRead  Pattern = "randread"
	RandWrite Pattern = "randwrite"
)

// Writes reports whether p destroys data.
func (p Pattern) Writes() bool { return p == Write || p == RandWrite }

// Random reports whether offsets are random.
func (p Pattern) Random() bool { return p == RandRead || p == RandWrite }

// ParsePattern reads one of the patterns.
func ParsePattern(s string) (Pattern, error) {
	switch p := Pattern(s); p {
	case Read, Write, RandRead, RandWrite:
		return p, nil
	}
	return "", fmt.Errorf("bench: %q: want read, write, randread or randwrite", s)
}
