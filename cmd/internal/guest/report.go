package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"aoe/cmd/internal/show"
)

// A Series is a number of runs of one recipe.
type Series struct {
	Recipe Recipe
	// Runs is their number. Zero means 1.
	Runs int
	// Parallel is how many run at once. Zero means 1. Each takes a processor.
	Parallel int
	// KeepLogs keeps the log of each run in LogDir, not only of those that failed.
	KeepLogs bool
	// LogDir is where logs are kept. Empty means the directory for temporary files.
	LogDir string
	// Tell is told how runs go; by any number of goroutines. Nil tells nobody.
	Tell func(run int, what string)
}

// A Report is how the runs came out.
type Report struct {
	Kernel string   `json:"kernel"`
	What   string   `json:"what"` // the recipe in words
	Trials []*Trial `json:"runs"`
}

// Survived counts the runs that did.
func (r *Report) Survived() (n int) {
	for _, t := range r.Trials {
		if t.Outcome == Survived {
			n++
		}
	}
	return n
}

// RunSeries runs all of them. When it is interrupted, the report has those that
// had ended.
func (k *Kernel) RunSeries(ctx context.Context, s Series) (*Report, error) {
	recipe, err := s.Recipe.withDefaults()
	if err != nil {
		return nil, err
	}
	runs, parallel := max(s.Runs, 1), max(s.Parallel, 1)
	tell := s.Tell
	if tell == nil {
		tell = func(int, string) {}
	}
	trials := make([]*Trial, runs)
	errs := make([]error, runs)
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i := range runs {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() { // ends with the run
			defer func() { <-slots }()
			trials[i], errs[i] = k.Try(ctx, recipe, i+1, func(what string) { tell(i+1, what) })
			if errs[i] == nil {
				errs[i] = s.keepLog(trials[i])
				tell(i+1, fmt.Sprintf("%s after %s", trials[i].Outcome, show.Duration(trials[i].Took)))
			}
		})
	}
	wg.Wait()
	report := &Report{Kernel: k.Release, What: recipe.String()}
	for _, t := range trials {
		if t != nil {
			report.Trials = append(report.Trials, t)
		}
	}
	return report, errors.Join(append(errs, ctx.Err())...)
}

// keepLog writes the log of a run that did not survive, or of any if asked for.
func (s Series) keepLog(t *Trial) error {
	if t.Outcome == Survived && !s.KeepLogs {
		return nil
	}
	dir := s.LogDir
	if dir == "" {
		dir = os.TempDir()
	}
	// What a run in a hundred did is not to be lost for want of a directory.
	err := os.MkdirAll(dir, 0o755)
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(dir, fmt.Sprintf("aoe-guest-run%d-*.log", t.Run))
	}
	if err == nil {
		_, err = f.Write(t.Log)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("guest: keep the log: %w", err)
	}
	t.LogPath, err = filepath.Abs(f.Name())
	return err
}

// String is the recipe in words.
func (r Recipe) String() string {
	m := r.Machine
	s := fmt.Sprintf("%s initiator, %s target, %s guest, MTU %d, fill %s", r.Initiator, m.Target,
		show.Bytes(m.MemoryBytes), m.MTU, show.Bytes(r.FillBytes))
	switch {
	case r.Flood < 0:
		s += ", flood as fast as it goes"
	case r.Flood > 0:
		s += fmt.Sprintf(", flood %d/s", r.Flood)
	default:
		s += ", no flood"
	}
	switch {
	case r.Forged < 0:
		s += ", forged answers as fast as they go"
	case r.Forged > 0:
		s += fmt.Sprintf(", %d forged answers/s", r.Forged)
	}
	if r.UnreadBytes > 0 {
		s += fmt.Sprintf(", socket of %s ", show.Bytes(int64(r.UnreadBytes)))
		if r.Read {
			s += "that is read"
		} else {
			s += "that nobody reads"
		}
	}
	if r.MinFreeKB > 0 {
		s += fmt.Sprintf(", vm.min_free_kbytes %d", r.MinFreeKB)
	}
	if m.Disks > 1 {
		s += fmt.Sprintf(", %d disks", m.Disks)
	}
	if r.DeadTarget {
		s += ", one target dead"
	}
	if r.Initiator != "kernel" && len(r.Attach) > 0 {
		s += ", attached with " + strings.Join(r.Attach, " ")
	}
	return s
}

// Print writes the table, and below it what is known of the runs that failed.
func (r *Report) Print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "Linux %s, %s\n\n", r.Kernel, r.What); err != nil {
		return err
	}
	t := show.NewTable(">run", "outcome", ">time", "got to", ">pages in", ">pages out", ">flooded", ">forged", ">freed at once", ">worst stall", ">reserve low")
	for _, tr := range r.Trials {
		freed, low := "", ""
		if d := tr.Disk; d != nil && d.Stats != nil {
			freed = show.Count(d.Stats.Drops.Sum())
			low = fmt.Sprintf("%d of %d", d.Stats.Reserve.ReserveLow, d.Stats.Reserve.Reserve)
		}
		got := tr.Phase
		if tr.Outcome == Survived {
			got = "the end"
		}
		t.Row(fmt.Sprint(tr.Run), string(tr.Outcome), show.Duration(tr.Took.Round(time.Millisecond)), got,
			show.Count(uint64(tr.PagesIn)), show.Count(uint64(tr.PagesOut)), show.Count(tr.Flooded), show.Count(tr.Forged), freed,
			show.Duration(tr.WorstStall), low)
	}
	if err := t.Print(w); err != nil {
		return err
	}
	var b strings.Builder
	for _, tr := range r.Trials {
		tr.explain(&b)
	}
	fmt.Fprintf(&b, "\n%d of %d survived.\n", r.Survived(), len(r.Trials))
	_, err := io.WriteString(w, b.String())
	return err
}

// explain writes what is known of a run beyond its line in the table.
func (t *Trial) explain(b *strings.Builder) {
	var why []string
	if d := t.Disk; t.Forged > 0 && d != nil && d.Kernel != nil {
		var guarded, filtered uint64
		if g := d.Kernel.Guard; g != nil {
			guarded = g.DroppedAoE
		}
		if f := d.Kernel.Filter; f != nil {
			filtered = f.Dropped()
		}
		why = append(why, fmt.Sprintf("%s forged answers were sent; the guard dropped %s frames of AoE, the filter by tag %s",
			show.Count(t.Forged), show.Count(guarded), show.Count(filtered)))
	}
	why = append(why, t.Why...)
	if len(why) == 0 && t.LogPath == "" {
		return
	}
	fmt.Fprintf(b, "\nRun %d, %s", t.Run, t.Outcome)
	if t.LogPath != "" {
		fmt.Fprintf(b, " (log: %s)", t.LogPath)
	}
	b.WriteString("\n")
	for _, w := range why {
		fmt.Fprintf(b, "  - %s\n", w)
	}
}
