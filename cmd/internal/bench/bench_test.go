package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"
)

var e11 = frame.Addr{Shelf: 1, Slot: 1}

// disk opens a disk in memory on a switch in memory.
func disk(t testing.TB, faults linktest.Faults, cfg initiator.Config) *initiator.Disk {
	t.Helper()
	sw := linktest.NewSwitch(linktest.Config{Seed: 1, MTU: 9000, Faults: faults})
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddDisk(target.Disk{Addr: e11, Store: store.Memory(16 << 20)}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddLink(sw.Port(frame.MAC{2, 0, 0, 0, 0, 2})); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }() // ends with s.Close
	port := sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	cfg.Link, cfg.Addr = port, e11
	d, err := initiator.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Close(), port.Close(), s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestEachPatternDoesWhatItSays(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{})
	for _, p := range []Pattern{Read, Write, RandRead, RandWrite} {
		for _, size := range []int{4096, 128 << 10} {
			before := d.Stats()
			r, err := Run(t.Context(), Config{Disk: d, Pattern: p, BlockSize: size, Depth: 8, Requests: 300, Duration: time.Minute})
			if err != nil {
				t.Fatalf("%s of %d: %v", p, size, err)
			}
			if r.Requests != 300 || r.Errors != 0 {
				t.Errorf("%s of %d: %d requests, %d errors", p, size, r.Requests, r.Errors)
			}
			if n := d.Stats().Requests - before.Requests; n != 300 {
				t.Errorf("%s of %d: the disk saw %d requests", p, size, n)
			}
			if math.Abs(r.MBps-r.IOPS*float64(size)/1e6) > 0.01 || r.IOPS <= 0 {
				t.Errorf("%s of %d: %v IOPS and %v MB/s do not fit", p, size, r.IOPS, r.MBps)
			}
			l := r.Latency
			if l.Min > l.P50 || l.P50 > l.P99 || l.P99 > l.Max || l.Max == 0 || l.Mean < l.Min {
				t.Errorf("%s of %d: latencies %+v are out of order", p, size, l)
			}
		}
	}
}

// TestBenchStaysInsideItsSpan: what lies behind it is not touched.
func TestBenchStaysInsideItsSpan(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{})
	before := make([]byte, d.Size())
	if _, err := d.WriteAt(bytes.Repeat([]byte{7}, len(before)), 0); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Pattern{Write, RandWrite} {
		if _, err := Run(t.Context(), Config{Disk: d, Pattern: p, Requests: 2000, Span: 1 << 20, Duration: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	after := make([]byte, d.Size())
	if _, err := d.ReadAt(after, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	for i, c := range after[1<<20:] {
		if c != 7 {
			t.Fatalf("byte %d beyond the span was written", i)
		}
	}
	if bytes.Count(after[:1<<20], []byte{7}) > 1<<17 {
		t.Error("the span itself was hardly written")
	}
}

// TestLossCostsTimeAndIsCounted, but no request.
func TestLossCostsTimeAndIsCounted(t *testing.T) {
	d := disk(t, linktest.Faults{Loss: 0.05}, initiator.Config{})
	r, err := Run(t.Context(), Config{Disk: d, Requests: 1000, Duration: time.Minute})
	if err != nil || r.Requests != 1000 {
		t.Fatalf("%d requests, %v", r.Requests, err)
	}
	if r.Retransmissions < 20 {
		t.Errorf("%d retransmissions with 5 %% of 2000 frames lost", r.Retransmissions)
	}
}

// TestStarvationIsNoDeadlock: a depth for which there are no buffers runs
// slower, to its end.
func TestStarvationIsNoDeadlock(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{MaxRequest: 8192, FailNormal: func() bool { return true }})
	r, err := Run(t.Context(), Config{Disk: d, Pattern: RandWrite, Requests: 2000, Depth: d.Depth(), Duration: time.Minute})
	if err != nil || r.Requests != 2000 {
		t.Fatalf("%d requests, %v", r.Requests, err)
	}
	if r.Waited == 0 {
		t.Error("nothing waited: the reserve alone carried the whole depth?")
	}
}

func TestRunEndsOnTimeAndWhenInterrupted(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{})
	before := runtime.NumGoroutine()
	r, err := Run(t.Context(), Config{Disk: d, Duration: 50 * time.Millisecond})
	if err != nil || r.Requests == 0 || r.Took < 50*time.Millisecond || r.Took > 10*time.Second {
		t.Errorf("a run of 50 ms took %v, %d requests: %v", r.Took, r.Requests, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r, err = Run(ctx, Config{Disk: d, Duration: time.Hour}); err != nil || r.Requests == 0 {
		t.Errorf("interrupted: %d requests, %v", r.Requests, err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

func TestDiskThatFailsEndsTheRun(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{})
	time.AfterFunc(20*time.Millisecond, func() { d.Close() })
	if r, err := Run(t.Context(), Config{Disk: d, Duration: time.Hour}); err == nil {
		t.Errorf("a disk that was closed was measured: %+v", r)
	}
}

func TestMistakesInConfigAreRefused(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{})
	for _, row := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no disk", Config{}, "no disk"},
		{"half a sector", Config{Disk: d, BlockSize: 700}, "multiple of 512"},
		{"too long", Config{Disk: d, BlockSize: 1 << 20}, "multiple of 512 up to"},
		{"too deep", Config{Disk: d, Depth: 10_000}, "want 1 to"},
		{"no room", Config{Disk: d, Span: 512}, "not one block"},
	} {
		if _, err := Run(t.Context(), row.cfg); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	if _, err := ParsePattern("trim"); err == nil {
		t.Error("a pattern that there is not")
	}
}

// TestNothingIsAllocatedPerRequest, on both sides together: 20,000 requests
// cost no more allocations than the beginning and the end of a run.
func TestNothingIsAllocatedPerRequest(t *testing.T) {
	d := disk(t, linktest.Faults{}, initiator.Config{})
	cfg := Config{Disk: d, Pattern: RandWrite, Requests: 20_000, Duration: time.Minute}
	if _, err := Run(t.Context(), cfg); err != nil { // warm: buffers of the switch, and the like
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 500 {
		t.Errorf("%d allocations in 20,000 requests", n)
	}
}

func TestResultPrints(t *testing.T) {
	var b bytes.Buffer
	r := Result{Addr: e11, Pattern: RandRead, BlockSize: 4096, Depth: 32, Requests: 12345, IOPS: 100000, MBps: 409.6, CPU: 7 * time.Microsecond}
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"e1.1: randread, 4K requests, depth 32", "100 000 IOPS", "409.6 MB/s", "CPU 7µs per request"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the result lacks %q:\n%s", want, b.String())
		}
	}
}
