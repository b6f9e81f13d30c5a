package lab

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"aoe/cmd/internal/show"
)

// A Progress tells a person how a run goes. Add may be called by any number of
// goroutines; the others by one.
type Progress interface {
	// Begin announces a step and how many bytes it will move, 0 if unknown.
	Begin(step string, totalBytes int64)
	Add(bytes int64)
	// End tells how the step announced last came out.
	End(row Row)
}

// NewProgress is a bar when f is a terminal, else a line for each step.
func NewProgress(f *os.File) Progress {
	if term.IsTerminal(int(f.Fd())) {
		return &bars{w: f}
	}
	return &lines{w: f}
}

// Quiet shows nothing.
func Quiet() Progress { return quiet{} }

type quiet struct{}

func (quiet) Begin(string, int64) {}
func (quiet) Add(int64)           {}
func (quiet) End(Row)             {}

// lines is for logs: one line when a step has ended.
type lines struct{ w io.Writer }

func (l *lines) Begin(string, int64) {}
func (l *lines) Add(int64)           {}
func (l *lines) End(row Row)         { fmt.Fprintln(l.w, line(row)) }

func line(row Row) string {
	verdict := "ok"
	if !row.OK {
		verdict = "FAILED: " + row.Error
	}
	return fmt.Sprintf("%-12s %-52s %8s  %s", row.Step, row.Did, show.Duration(row.Took), verdict)
}

// bars shows a bar for the step that is being done, and leaves the line of each
// step that has ended.
type bars struct {
	w     io.Writer
	mu    sync.Mutex
	bar   *progressbar.ProgressBar
	total int64
	done  atomic.Int64
	next  atomic.Int64 // done at which the bar is drawn again
}

// barWidth in cells.
const barWidth = 30

func (b *bars) Begin(step string, totalBytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done.Store(0)
	b.next.Store(0)
	b.total = totalBytes
	shown := totalBytes
	if shown <= 0 {
		shown = -1 // a spinner
	}
	b.bar = progressbar.NewOptions64(shown,
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetDescription(fmt.Sprintf("%-12s", step)),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionShowBytes(totalBytes > 0),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(false),
		// Otherwise a spinner has a goroutine that goes on drawing for ever.
		progressbar.OptionSetSpinnerChangeInterval(0),
	)
	b.bar.RenderBlank()
}

// Add draws once for every percent at most: workers call it for each request.
func (b *bars) Add(bytes int64) {
	done := b.done.Add(bytes)
	next := b.next.Load()
	if done < next || !b.next.CompareAndSwap(next, done+max(b.total/100, 1)) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.Set64(min(done, max(b.total-1, 0)))
	}
}

func (b *bars) End(row Row) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.Clear()
		b.bar = nil
	}
	fmt.Fprintln(b.w, line(row))
}
