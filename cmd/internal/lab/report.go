package lab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"aoe/cmd/internal/show"
)

// A Row is the outcome of one step.
type Row struct {
	Step  string        `json:"step"`
	Did   string        `json:"did"` // "11478 files, 127M"
	Took  time.Duration `json:"nanoseconds"`
	Bytes int64         `json:"bytes,omitempty"` // moved, for the throughput
	// Frames is what became of the frames that the initiator received in this
	// step; nil where there was none.
	Frames *Frames `json:"frames,omitempty"`
	OK     bool    `json:"ok"`
	Error  string  `json:"error,omitempty"`
}

// Frames counts what the initiator did with what it received.
type Frames struct {
	Admitted uint64            `json:"admitted"`     // belonged to a request and were kept
	Freed    map[string]uint64 `json:"freed"`        // freed at once, by reason
	Resent   uint64            `json:"resent"`       // transmissions beyond the first
	Crunch   uint64            `json:"fromReserve"`  // buffers taken from the reserve
	Low      int               `json:"reserveLow"`   // fewest reserve buffers that were free
	Reserve  int               `json:"reserveTotal"` // of so many
}

// FreedTotal is the sum over all reasons.
func (f *Frames) FreedTotal() uint64 {
	n := uint64(0)
	for _, v := range f.Freed {
		n += v
	}
	return n
}

// A Report is the outcome of a run.
type Report struct {
	Seed    uint64                       `json:"seed"`
	Took    time.Duration                `json:"nanoseconds"`
	OK      bool                         `json:"ok"`
	Rows    []Row                        `json:"steps"`
	Flooded map[string]map[string]uint64 `json:"flooded,omitempty"` // side -> kind -> frames sent
}

// Print writes the table, and below it the reasons why frames were freed.
func (r *Report) Print(w io.Writer) error {
	t := show.NewTable("step", "what was done", ">time", ">MB/s", ">admitted", ">freed", ">resent", ">reserve low", "verdict")
	for _, row := range r.Rows {
		verdict := "ok"
		if !row.OK {
			verdict = "FAILED"
		}
		rate, admitted, freed, resent, low := "", "", "", "", ""
		if row.Bytes > 0 && row.Took > 0 {
			rate = fmt.Sprintf("%.0f", float64(row.Bytes)/1e6/row.Took.Seconds())
		}
		if f := row.Frames; f != nil {
			admitted, freed, resent = show.Count(f.Admitted), show.Count(f.FreedTotal()), show.Count(f.Resent)
			low = fmt.Sprintf("%d of %d", f.Low, f.Reserve)
		}
		t.Row(row.Step, row.Did, show.Duration(row.Took), rate, admitted, freed, resent, low, verdict)
	}
	if err := t.Print(w); err != nil {
		return err
	}
	var b strings.Builder
	r.printReasons(&b)
	for _, row := range r.Rows {
		if !row.OK {
			fmt.Fprintf(&b, "\n%s: %s\n", row.Step, row.Error)
		}
	}
	verdict := "All of it held"
	if !r.OK {
		verdict = "It did not hold"
	}
	fmt.Fprintf(&b, "\n%s. Took %s; seed %d replays the losses and the flood.\n", verdict, show.Duration(r.Took), r.Seed)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) printReasons(w io.Writer) {
	var steps []string
	for _, row := range r.Rows {
		if row.Frames == nil || row.Frames.FreedTotal() == 0 {
			continue
		}
		steps = append(steps, fmt.Sprintf("  %s: %s\n", row.Step, counts(row.Frames.Freed)))
	}
	if len(steps) > 0 {
		fmt.Fprintf(w, "\nReceived frames freed at once, and why:\n%s", strings.Join(steps, ""))
	}
	sides := make([]string, 0, len(r.Flooded))
	for side := range r.Flooded {
		sides = append(sides, side)
	}
	slices.Sort(sides)
	for _, side := range sides {
		fmt.Fprintf(w, "Flood at the %s: %s\n", side, counts(r.Flooded[side]))
	}
}

// counts lists named numbers, the largest first, without the zeros.
func counts(m map[string]uint64) string {
	names := make([]string, 0, len(m))
	for name, n := range m {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if m[a] != m[b] {
			if m[a] > m[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%s %s", show.Count(m[name]), name)
	}
	return strings.Join(parts, ", ")
}
