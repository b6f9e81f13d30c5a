package diskcopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Defaults of Config.
const (
	DefaultChunk = 1 << 20
	DefaultDepth = 8
	// DefaultSave is how much time an interruption may cost.
	DefaultSave = 5 * time.Second
)

// piece is the unit in which zeros are looked for: what a file system likes to
// allocate at once, and more than a frame carries.
const piece = 64 << 10

// A Config says what to copy.
type Config struct {
	Source, Destination *End

	State string // path of the state file; empty: interrupted, it is begun anew
	Force bool   // overwrite a destination that is not blank
	// Verify reads both ends again when all is copied, and compares them.
	Verify bool

	Chunk int           // bytes copied at a time, a multiple of 64 KiB; zero means DefaultChunk
	Depth int           // chunks under way; zero means DefaultDepth
	Save  time.Duration // how often the state is saved; zero means DefaultSave

	// Progress is told of each part that was done, by one goroutine at a time.
	// Nil tells nobody.
	Progress Progress
}

// A Progress shows how a copy gets on.
type Progress interface {
	// Begin tells what is being done ("copying", "verifying"), and how much of it
	// is done already.
	Begin(what string, doneBytes, totalBytes int64)
	Add(bytes int64)
	End()
}

// A Result is what a copy has done.
type Result struct {
	SizeBytes    int64         `json:"sizeBytes"`
	ResumedAt    int64         `json:"resumedAtBytes"` // what an earlier run had done
	WrittenBytes int64         `json:"writtenBytes"`
	ZeroBytes    int64         `json:"zeroBytes"` // not sent: trimmed, or there anyhow
	Verified     bool          `json:"verified"`
	Took         time.Duration `json:"tookNanoseconds"`
	VerifyTook   time.Duration `json:"verifyTookNanoseconds,omitempty"`
}

// A run is one Run.
type run struct {
	Config
	size  int64
	state state

	mu       sync.Mutex
	next     int64 // offset of the next chunk to begin with
	finished map[int64]bool
	frontier int64
	result   Result
	err      error
	cancel   context.CancelFunc

	unflushed error // of a flush that failed: what it should have saved may be gone
}

// Run copies. An error of an end says where it happened; the copy can go on
// there. A context that ends is such an error.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Chunk <= 0 {
		cfg.Chunk = DefaultChunk
	}
	if cfg.Depth <= 0 {
		cfg.Depth = DefaultDepth
	}
	if cfg.Save <= 0 {
		cfg.Save = DefaultSave
	}
	if cfg.Progress == nil {
		cfg.Progress = quiet{}
	}
	src, dst := cfg.Source, cfg.Destination
	r := &run{Config: cfg, size: src.Size, finished: map[int64]bool{}, result: Result{SizeBytes: src.Size}}
	if cfg.Chunk%piece != 0 {
		return r.result, fmt.Errorf("chunks of %d bytes: want a multiple of %d", cfg.Chunk, piece)
	}
	if src.ID == dst.ID {
		return r.result, fmt.Errorf("%s and %s are the same", src.Name, dst.Name)
	}
	if dst.Size < src.Size {
		return r.result, fmt.Errorf("%s has %d bytes, and %s only %d: enlarge it first", src.Name, src.Size, dst.Name, dst.Size)
	}
	if err := r.begin(ctx); err != nil {
		return r.result, err
	}
	began := time.Now()
	err := r.copyAll(ctx)
	r.result.Took = time.Since(began)
	if err != nil {
		return r.result, err
	}
	if cfg.Verify {
		began = time.Now()
		if err := r.verify(ctx); errors.Is(err, ErrDiffers) {
			return r.result, errors.Join(err, r.forget()) // there is nothing to go on from
		} else if err != nil {
			return r.result, err
		}
		r.result.Verified, r.result.VerifyTook = true, time.Since(began)
	}
	return r.result, r.forget()
}

// forget removes the state file.
func (r *run) forget() error {
	if r.State == "" {
		return nil
	}
	if err := os.Remove(r.State); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// begin finds where to go on, or makes sure that nothing is overwritten.
func (r *run) begin(ctx context.Context) (err error) {
	r.state = state{Source: r.Source.ID, Destination: r.Destination.ID, SizeBytes: r.size}
	begun := Begun(r.State)
	if begun {
		if r.state, err = loadState(r.State, r.state); err != nil {
			return err
		}
		r.next, r.frontier, r.result.ResumedAt = r.state.DoneBytes, r.state.DoneBytes, r.state.DoneBytes
	}
	if begun || r.Force || r.Destination.Blank {
		return nil
	}
	p := make([]byte, min(int64(r.Chunk), r.Destination.Size))
	for _, off := range []int64{0, r.Destination.Size - int64(len(p))} {
		if _, err := r.Destination.Read(ctx, p, off); err != nil {
			return fmt.Errorf("reading %s to see whether it is blank: %w", r.Destination.Name, err)
		}
		if !isZero(p) {
			return fmt.Errorf("%s %w: --force overwrites it", r.Destination.Name, ErrNotBlank)
		}
	}
	return nil
}

// copyAll copies from the frontier to the end, and leaves a state to go on from
// if that fails.
func (r *run) copyAll(ctx context.Context) error {
	r.Progress.Begin("copying", r.frontier, r.size)
	defer r.Progress.End()
	if r.State != "" { // from here on the destination is not what it was
		if err := r.state.save(r.State); err != nil {
			return fmt.Errorf("the state file: %w", err)
		}
	}
	err := r.each(ctx, r.copyChunk)
	flushing := ctx
	if err != nil {
		// What was done is worth some seconds more.
		var cancel context.CancelFunc
		flushing, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*DefaultSave)
		defer cancel()
	}
	saved := r.save(flushing)
	if err == nil {
		return saved
	}
	if saved != nil || r.State == "" {
		return err // the state that was saved last holds
	}
	return fmt.Errorf("%w; %d of %d bytes are copied: the same command goes on there", err, r.state.DoneBytes, r.size)
}

// each calls f for every chunk from r.next on, several at a time, and saves the
// state now and then.
func (r *run) each(ctx context.Context, f func(ctx context.Context, p []byte, off int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.err, r.cancel = nil, cancel
	var workers sync.WaitGroup
	for range r.Depth {
		workers.Go(func() {
			buf := make([]byte, r.Chunk)
			for off, n, ok := r.take(ctx); ok; off, n, ok = r.take(ctx) {
				r.done(off, n, f(ctx, buf[:n], off))
			}
		})
	}
	ended := make(chan struct{})
	var saver sync.WaitGroup
	saver.Go(func() {
		tick := time.NewTicker(r.Save)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := r.save(ctx); err != nil {
					r.fail(err)
				}
			case <-ended:
				return
			}
		}
	})
	workers.Wait()
	close(ended)
	saver.Wait()
	if r.err == nil && r.frontier < r.size {
		return ctx.Err()
	}
	return r.err
}

// take is the next chunk to be done.
func (r *run) take(ctx context.Context) (off int64, n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next >= r.size || ctx.Err() != nil {
		return 0, 0, false
	}
	off = r.next
	n = int(min(int64(r.Chunk), r.size-off))
	r.next += int64(n)
	return off, n, true
}

// done moves the frontier.
func (r *run) done(off int64, n int, err error) {
	if err != nil {
		r.fail(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished[off] = true
	for r.finished[r.frontier] {
		delete(r.finished, r.frontier)
		r.frontier = min(r.frontier+int64(r.Chunk), r.size)
	}
	r.Progress.Add(int64(n))
}

// fail keeps the first error and ends all others.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.cancel()
}

// save makes durable what is before the frontier, and says so in the state file.
func (r *run) save(ctx context.Context) error {
	r.mu.Lock()
	frontier := r.frontier
	r.mu.Unlock()
	if r.unflushed != nil {
		return r.unflushed
	}
	if err := r.Destination.Flush(ctx); err != nil {
		err = fmt.Errorf("flushing %s: %w", r.Destination.Name, err)
		if ctx.Err() == nil {
			r.unflushed = err // a disk says once that it has lost something
		}
		return err
	}
	if r.State == "" {
		return nil
	}
	r.state.DoneBytes = frontier
	if err := r.state.save(r.State); err != nil {
		return fmt.Errorf("the state file: %w", err)
	}
	return nil
}

// copyChunk copies what is not zeros.
func (r *run) copyChunk(ctx context.Context, p []byte, off int64) error {
	if r.hole(off, len(p)) {
		clear(p)
	} else if _, err := r.Source.Read(ctx, p, off); err != nil {
		return fmt.Errorf("reading %s at byte %d: %w", r.Source.Name, off, err)
	}
	for len(p) > 0 {
		n, zero := sameKind(p)
		if err := r.put(ctx, p[:n], off, zero); err != nil {
			return fmt.Errorf("writing %s at byte %d: %w", r.Destination.Name, off, err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// hole reports whether the source knows that the chunk holds only zeros.
func (r *run) hole(off int64, n int) bool {
	if r.Source.data == nil {
		return false
	}
	r.Source.dataMu.Lock()
	defer r.Source.dataMu.Unlock()
	return r.Source.data(off) >= off+int64(n)
}

func (r *run) put(ctx context.Context, p []byte, off int64, zero bool) (err error) {
	sent := false
	switch {
	case zero && r.Destination.Blank:
	case zero && r.Destination.TrimZeroes:
		err = r.Destination.Trim(ctx, off, int64(len(p)))
	default:
		sent = true
		_, err = r.Destination.Write(ctx, p, off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if sent {
		r.result.WrittenBytes += int64(len(p))
	} else {
		r.result.ZeroBytes += int64(len(p))
	}
	return err
}

// sameKind is how many bytes at the beginning of p are all zeros, or all in
// pieces that are not.
func sameKind(p []byte) (n int, zero bool) {
	zero = isZero(p[:min(piece, len(p))])
	for n < len(p) {
		next := p[n:min(n+piece, len(p))]
		if isZero(next) != zero {
			break
		}
		n += len(next)
	}
	return n, zero
}

var zeros [piece]byte

func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), piece)
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

type quiet struct{}

func (quiet) Begin(string, int64, int64) {}
func (quiet) Add(int64)                  {}
func (quiet) End()                       {}
