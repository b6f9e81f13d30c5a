package trace

import (
	"slices"
	"strings"
	"time"

	"aoe/cmd/internal/bench"
)

// A Summary is what all frames together show.
type Summary struct {
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Frames    uint64    `json:"frames"`
	Bytes     uint64    `json:"bytes"` // on the wire
	Malformed uint64    `json:"malformed"`
	Stray     uint64    `json:"stray"` // answers to nothing that was seen, or once more
	Kinds     []Kind    `json:"kinds"`
}

// A Kind is what became of the requests of one command. The times are from when a
// request was sent first until it was answered first.
type Kind struct {
	Name       string        `json:"kind"`
	Requests   uint64        `json:"requests"`
	Answered   uint64        `json:"answered"`
	Again      uint64        `json:"sentAgain"`
	Unanswered uint64        `json:"unanswered"`
	Failed     uint64        `json:"failed"`
	Min        time.Duration `json:"minNanoseconds"`
	P50        time.Duration `json:"p50Nanoseconds"`
	P90        time.Duration `json:"p90Nanoseconds"`
	P99        time.Duration `json:"p99Nanoseconds"`
	Max        time.Duration `json:"maxNanoseconds"`

	latency bench.Histogram
}

// Summary ends the trace: what is not answered now never was.
func (t *Tracker) Summary() Summary {
	for _, x := range t.order {
		t.drop(x)
	}
	t.order = nil
	s := t.summary
	s.Kinds = []Kind{}
	for _, k := range t.kinds {
		h := &k.latency
		k.Min, k.Max = h.Min(), h.Max()
		k.P50, k.P90, k.P99 = h.Quantile(0.5), h.Quantile(0.9), h.Quantile(0.99)
		s.Kinds = append(s.Kinds, *k)
	}
	slices.SortFunc(s.Kinds, func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
	return s
}
