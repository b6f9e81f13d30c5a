package diskcopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/initiatortest"
)

// image is a file of n bytes with data here and there: every third piece.
func image(t *testing.T, name string, n int) (path string, data []byte) {
	t.Helper()
	data = make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for off := 0; off < n; off += 3 * piece {
		for i := off; i < min(off+piece, n); i++ {
			data[i] = byte(rng.Uint32())
		}
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// disk opens an AoE disk of n bytes on a segment of its own.
func disk(t *testing.T, n int64, cfg initiatortest.Config) (*End, *initiatortest.Target) {
	t.Helper()
	sw := linktest.NewSwitch(linktest.Config{MTU: 9000})
	cfg.Addr, cfg.Sectors = frame.Addr{Shelf: 1, Slot: 1}, uint64(n/frame.SectorSize)
	target := initiatortest.Start(t, sw.Port(frame.MAC{2, 0, 0, 0, 0, 2}), cfg)
	l := sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	d, err := initiator.Open(t.Context(), initiator.Config{Link: l, Addr: cfg.Addr, DeadTime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		l.Close()
	})
	return Disk(d), target
}

func source(t *testing.T, path string) *End {
	t.Helper()
	e, err := OpenSource(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func destination(t *testing.T, path string, size int64, force, goOn bool) *End {
	t.Helper()
	e, err := OpenDestination(path, size, force, goOn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

const size = 5<<20 + 512 // chunks of 1 MiB, and a sector

func TestImageToDiskAndBack(t *testing.T) {
	path, data := image(t, "disk.img", size)
	d, target := disk(t, size+4096, initiatortest.Config{})
	r, err := Run(t.Context(), Config{Source: source(t, path), Destination: d, Verify: true})
	if err != nil || !r.Verified || r.WrittenBytes+r.ZeroBytes != size {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := target.Bytes(0, size); !bytes.Equal(got, data) {
		t.Fatal("the disk is not the image")
	}

	back := filepath.Join(t.TempDir(), "back.img")
	r, err = Run(t.Context(), Config{Source: d, Destination: destination(t, back, d.Size, false, false), Verify: true})
	if err != nil || r.ZeroBytes < size/2 {
		t.Fatalf("%+v, %v", r, err)
	}
	got, err := os.ReadFile(back)
	if err != nil || !bytes.Equal(got[:size], data) || len(got) != size+4096 {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

// TestZerosOnADisk: they are trimmed if the disk promises zeros for that, and
// written over what was there if it does not.
func TestZerosOnADisk(t *testing.T) {
	path, data := image(t, "disk.img", size)
	for _, noTrim := range []bool{false, true} {
		d, target := disk(t, size, initiatortest.Config{NoTrim: noTrim})
		if !noTrim && !d.TrimZeroes {
			d.TrimZeroes = true // it does, and says so only to who knows
		}
		if _, err := d.Write(t.Context(), bytes.Repeat([]byte{0xee}, size), 0); err != nil {
			t.Fatal(err)
		}
		r, err := Run(t.Context(), Config{Source: source(t, path), Destination: d, Force: true})
		if err != nil || !bytes.Equal(target.Bytes(0, size), data) {
			t.Errorf("no trim %v: %+v, %v", noTrim, r, err)
		}
		if trims := target.Seen().Trims; (trims == 0) != noTrim || (r.ZeroBytes == 0) != noTrim {
			t.Errorf("no trim %v: %d trims, %+v", noTrim, trims, r)
		}
	}
}

// A stopper fails a device after some writes.
type stopper struct {
	Device
	left atomic.Int64
	stop func()
}

var errStopped = errors.New("stopped")

func (s *stopper) Write(ctx context.Context, p []byte, off int64) (int, error) {
	if s.left.Add(-1) < 0 {
		if s.stop != nil {
			s.stop()
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 0, errStopped
	}
	return s.Device.Write(ctx, p, off)
}

// TestGoingOn: a copy that failed, and one that was interrupted, go on where they
// were, and nothing that was done is done again.
func TestGoingOn(t *testing.T) {
	path, data := image(t, "disk.img", size)
	for _, row := range []struct {
		interrupt bool
		depth     int
	}{{false, 1}, {true, 1}, {false, 2}, {true, 2}} {
		t.Run(fmt.Sprintf("interrupted %v, depth %d", row.interrupt, row.depth), func(t *testing.T) {
			d, target := disk(t, size, initiatortest.Config{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &stopper{Device: d.Device}
			s.left.Store(40)
			if row.interrupt {
				s.stop = cancel
			}
			d.Device = s
			cfg := Config{Source: source(t, path), Destination: d, State: filepath.Join(t.TempDir(), "state"), Chunk: 2 * piece, Depth: row.depth}
			_, err := Run(ctx, cfg)
			want := errStopped
			if row.interrupt {
				want = context.Canceled
			}
			if !errors.Is(err, want) || !strings.Contains(err.Error(), "the same command goes on") {
				t.Fatalf("stopped: %v", err)
			}
			if !Begun(cfg.State) {
				t.Fatal("no state was left")
			}
			s.left.Store(1 << 40)
			cfg.Verify = true
			r, err := Run(t.Context(), cfg)
			// Of two at a time, the first may have been held up until the end.
			if err != nil || r.ResumedAt == 0 && row.depth == 1 || !bytes.Equal(target.Bytes(0, size), data) {
				t.Fatalf("went on: %+v, %v", r, err)
			}
			if n := r.ResumedAt + r.WrittenBytes + r.ZeroBytes; n != size {
				t.Errorf("%d of %d bytes accounted for: %+v", n, size, r)
			}
			if Begun(cfg.State) {
				t.Error("the state was left behind")
			}
		})
	}
}

// TestWhatIsRefused, with nothing overwritten.
func TestWhatIsRefused(t *testing.T) {
	path, _ := image(t, "disk.img", size)
	other, _ := image(t, "other.img", size)
	state := filepath.Join(t.TempDir(), "state")
	small, _ := disk(t, size-512, initiatortest.Config{})
	used, target := disk(t, size, initiatortest.Config{})
	if _, err := used.Write(t.Context(), bytes.Repeat([]byte{1}, 512), size-512); err != nil {
		t.Fatal(err)
	}
	writes := target.Seen().Writes
	src := source(t, path)
	run := func(cfg Config) error {
		_, err := Run(t.Context(), cfg)
		return err
	}
	if err := run(Config{Source: src, Destination: small}); err == nil || !strings.Contains(err.Error(), "enlarge it") {
		t.Errorf("too small: %v", err)
	}
	if err := run(Config{Source: src, Destination: used}); !errors.Is(err, ErrNotBlank) {
		t.Errorf("not blank: %v", err)
	}
	if err := run(Config{Source: used, Destination: used}); err == nil || !strings.Contains(err.Error(), "are the same") {
		t.Errorf("to itself: %v", err)
	}
	if _, err := OpenDestination(other, size, false, false); !errors.Is(err, ErrExists) {
		t.Errorf("a file that is there: %v", err)
	}
	if _, err := OpenDestination(other+".gone", size, false, true); err == nil || !strings.Contains(err.Error(), "remove the state file") {
		t.Errorf("a file that is gone: %v", err)
	}
	if err := os.WriteFile(state, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(Config{Source: src, Destination: used, State: state}); err == nil || !strings.Contains(err.Error(), "begin anew") {
		t.Errorf("a damaged state: %v", err)
	}
	if err := (state2{"a", "b"}).save(state); err != nil {
		t.Fatal(err)
	}
	if err := run(Config{Source: src, Destination: used, State: state}); !errors.Is(err, ErrOtherCopy) {
		t.Errorf("the state of another copy: %v", err)
	}
	odd := filepath.Join(t.TempDir(), "odd.img")
	if err := os.WriteFile(odd, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSource(odd); err == nil || !strings.Contains(err.Error(), "truncate") {
		t.Errorf("half a sector: %v", err)
	}
	if got := target.Seen().Writes; got != writes {
		t.Errorf("%d writes for copies that were refused", got-writes)
	}
}

type state2 struct{ src, dst string }

func (s state2) save(path string) error { return state{Source: s.src, Destination: s.dst}.save(path) }

// A liar does not write some of what it is told to.
type liar struct{ Device }

func (l liar) Write(ctx context.Context, p []byte, off int64) (int, error) {
	if off == 0 {
		return len(p), nil
	}
	return l.Device.Write(ctx, p, off)
}

func TestVerifyFindsADifference(t *testing.T) {
	path, _ := image(t, "disk.img", size)
	d, _ := disk(t, size, initiatortest.Config{})
	d.Device = liar{d.Device}
	cfg := Config{Source: source(t, path), Destination: d, Verify: true, State: filepath.Join(t.TempDir(), "state")}
	r, err := Run(t.Context(), cfg)
	if !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "at byte 0") || r.Verified {
		t.Errorf("%+v, %v", r, err)
	}
	if Begun(cfg.State) {
		t.Error("a copy that went wrong can be gone on with")
	}
}

// TestHolesAreNotRead: what the file system knows to be empty.
func TestHolesAreNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	data, closeFile := holes(path)
	if data == nil || data(0) < 64<<20 {
		closeFile()
		t.Skip("needs a file system that tells of holes")
	}
	closeFile()
	src := source(t, path)
	counted := &counter{Device: src.Device}
	src.Device = counted
	out := filepath.Join(t.TempDir(), "out.img")
	if _, err := Run(t.Context(), Config{Source: src, Destination: destination(t, out, src.Size, false, false)}); err != nil {
		t.Fatal(err)
	}
	if n := counted.reads.Load(); n != 0 {
		t.Errorf("%d reads of a file that is one hole", n)
	}
	if fi, err := os.Stat(out); err != nil || fi.Size() != 64<<20 {
		t.Errorf("%v, %v", fi, err)
	}
}

type counter struct {
	Device
	reads atomic.Int64
}

func (c *counter) Read(ctx context.Context, p []byte, off int64) (int, error) {
	c.reads.Add(1)
	return c.Device.Read(ctx, p, off)
}

// TestProgressTellsEverything: what is added is what there is to do.
func TestProgressTellsEverything(t *testing.T) {
	path, _ := image(t, "disk.img", size)
	d, _ := disk(t, size, initiatortest.Config{})
	p := &told{}
	if _, err := Run(t.Context(), Config{Source: source(t, path), Destination: d, Verify: true, Progress: p}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.said, " "); got != fmt.Sprintf("copying %d end verifying %[1]d end", size) {
		t.Errorf("told %q", got)
	}
}

type told struct {
	said []string
	sum  int64
}

func (p *told) Begin(what string, done, _ int64) { p.said, p.sum = append(p.said, what), done }
func (p *told) Add(n int64)                      { p.sum += n }
func (p *told) End()                             { p.said = append(p.said, fmt.Sprint(p.sum), "end") }
