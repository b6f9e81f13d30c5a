package diskcopy

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// NewProgress is a bar with rate and remaining time if f is a terminal; else
// nothing is shown.
func NewProgress(f *os.File) Progress {
	if !term.IsTerminal(int(f.Fd())) {
		return quiet{}
	}
	return &bar{w: f}
}

// bar is called by one goroutine at a time, as Progress says.
type bar struct {
	w   *os.File
	bar *progressbar.ProgressBar
}

func (b *bar) Begin(what string, doneBytes, totalBytes int64) {
	b.bar = progressbar.NewOptions64(totalBytes,
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetDescription(fmt.Sprintf("%-9s", what)),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
	// A bar that cannot be drawn is no reason not to copy.
	_ = b.bar.Set64(doneBytes)
}

func (b *bar) Add(bytes int64) { _ = b.bar.Add64(bytes) }

func (b *bar) End() {
	_ = b.bar.Clear()
	b.bar = nil
}
