package initiator

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"
)

// TestADay walks through the life of a disk.
func TestADay(t *testing.T) {
	b := newBed(t, bedConfig{})
	d := b.disk
	if d.Size() != 1<<20 || d.Payload() != 8192 || d.Identify().Serial != "initiatortest" || d.Target().MAC != theirs {
		t.Errorf("size %d, payload %d, %+v, %+v", d.Size(), d.Payload(), d.Identify(), d.Target())
	}
	want := pattern(1, 64<<10)
	if n, err := d.WriteAt(want, 4096); n != len(want) || err != nil {
		t.Fatalf("WriteAt: %d, %v", n, err)
	}
	if err := d.Flush(b.ctx()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := d.ReadAt(got, 4096); n != len(want) || err != nil {
		t.Fatalf("ReadAt: %d, %v", n, err)
	}
	same(t, got, want, "read back")
	same(t, b.target.Bytes(4096, len(want)), want, "on the target")
	if err := d.Trim(b.ctx(), 4096, 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(got[:8192], 4096); err != nil {
		t.Fatal(err)
	}
	same(t, got[:8192], make([]byte, 8192), "trimmed")
	if s := d.Stats(); s.State.Condition != Up || s.Failed != 0 || s.Requests < 4 || s.Drops.Sum() != 0 {
		t.Errorf("stats: %+v", s)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(got, 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if s := d.State(); s.Condition != Closed {
		t.Errorf("after Close: %+v", s)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestReadAtAnyAlignment: every combination of ends near sector, page and frame
// boundaries.
func TestReadAtAnyAlignment(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("MTU %d", mtu), func(t *testing.T) {
			b := newBed(t, bedConfig{sw: linktest.Config{MTU: mtu}, disk: Config{MaxRequest: 8192}})
			all := pattern(2, 1<<20)
			if _, err := b.disk.WriteAt(all, 0); err != nil {
				t.Fatal(err)
			}
			same(t, b.target.Bytes(0, len(all)), all, "written")
			edges := []int{0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 20000}
			for _, from := range edges {
				for _, n := range edges {
					got := make([]byte, n)
					if m, err := b.disk.ReadAt(got, int64(from)); m != n || err != nil {
						t.Fatalf("ReadAt %d+%d: %d, %v", from, n, m, err)
					}
					same(t, got, all[from:from+n], "read")
				}
			}
		})
	}
}

func TestEndOfTheDisk(t *testing.T) {
	b := newBed(t, bedConfig{})
	d, size := b.disk, b.disk.Size()
	p := make([]byte, 2048)
	for _, row := range []struct {
		name string
		do   func() (int, error)
		n    int
		err  error
	}{
		{"read across the end", func() (int, error) { return d.ReadAt(p, size-1000) }, 1000, io.EOF},
		{"read up to the end", func() (int, error) { return d.ReadAt(p, size-2048) }, 2048, nil},
		{"read behind the end", func() (int, error) { return d.ReadAt(p, size) }, 0, io.EOF},
		{"read before the beginning", func() (int, error) { return d.ReadAt(p, -1) }, 0, ErrRange},
		{"read nothing", func() (int, error) { return d.ReadAt(nil, size) }, 0, nil},
		{"write across the end", func() (int, error) { return d.WriteAt(p, size-1024) }, 0, ErrRange},
		{"write before the beginning", func() (int, error) { return d.WriteAt(p, -512) }, 0, ErrRange},
		{"write at an odd place", func() (int, error) { return d.WriteAt(p, 100) }, 0, ErrUnaligned},
		{"write an odd length", func() (int, error) { return d.WriteAt(p[:100], 0) }, 0, ErrUnaligned},
		{"write nothing", func() (int, error) { return d.WriteAt(nil, 0) }, 0, nil},
	} {
		if n, err := row.do(); n != row.n || !errors.Is(err, row.err) {
			t.Errorf("%s: %d, %v; want %d, %v", row.name, n, err, row.n, row.err)
		}
	}
}

// TestManyAtOnce: goroutines that each own a part of the disk.
func TestManyAtOnce(t *testing.T) {
	b := newBed(t, bedConfig{
		sw:     linktest.Config{MTU: 1500, Seed: 7, Faults: linktest.Faults{Loss: 0.02, Duplicate: 0.02, Reorder: 0.1}},
		target: initiatortest.Config{Sectors: 8192, Buffers: 16},
		disk:   Config{MaxRequest: 16 << 10, Depth: 8},
	})
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			const part = 512 << 10
			base := int64(w) * part
			for i := range 6 {
				want := pattern(uint64(w*100+i), 40<<10)
				off := base + int64(i*4096)
				if _, err := b.disk.WriteAt(want, off); err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
				got := make([]byte, len(want))
				if _, err := b.disk.ReadAt(got, off); err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
				same(t, got, want, "read back")
			}
		})
	}
	workers.Wait()
	s := b.disk.Stats()
	t.Logf("%d frames, %d sent again, %d in vain, %d freed at once, window %d", s.Sent, s.Retransmitted, s.Spurious, s.Drops.Sum(), s.Window)
}
