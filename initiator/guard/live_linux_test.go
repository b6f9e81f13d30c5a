package guard_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
	"aoe/initiator"
	"aoe/initiator/engine"
	"aoe/initiator/guard"
	"aoe/initiator/initiatortest"

	"github.com/mdlayher/aoe"
)

var disk = frame.Addr{Shelf: 1, Slot: 1}

// loadable skips t where programs cannot be loaded, and fails it when err is
// anything else.
func loadable(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, fs.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

// on opens something inside a host, and closes it when t ends.
func on[T interface{ Close() error }](t testing.TB, h *veth.Host, open func() (T, error)) (v T) {
	t.Helper()
	loadable(t, h.Do(func() (err error) { v, err = open(); return err }))
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func openRing(h *veth.Host, filterFD int) func() (*ring.Link, error) {
	return func() (*ring.Link, error) {
		return ring.Open(ring.Config{Interface: h.Interface, FilterFD: filterFD, Frames: ringFrames})
	}
}

// ringFrames is more than any test here has under way at once.
const ringFrames = 2048

func newTable(t testing.TB) *guard.Table {
	t.Helper()
	table, err := guard.NewTable(disk, engine.DefaultSlots)
	loadable(t, err)
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func openDisk(t testing.TB, cfg initiator.Config) *initiator.Disk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cfg.Addr, cfg.DeadTime = disk, -1
	d, err := initiator.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// until waits for a condition that something else brings about.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after 20 s: %s", what)
		}
	}
}

// TestFilterOnASocket: of frames of every kind, only answers to what is
// outstanding and announcements get into the ring.
func TestFilterOnASocket(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	table := newTable(t)
	l := on(t, pair.A, openRing(pair.A, table.FilterFD()))
	sender := on(t, pair.B, openRing(pair.B, 0))
	table.SetPaths(pair.A.MAC, []frame.MAC{pair.B.MAC})
	table.SetTags(7, 100, 2, aoe.CommandIssueATACommand)

	answer := func(change func(*frame.Header)) []byte {
		h := frame.Header{Dst: pair.A.MAC, Src: pair.B.MAC, Flags: frame.FlagResponse, Addr: disk, Tag: 101<<12 | 7}
		change(&h)
		return frame.Pad(h.Append(nil))
	}
	good := answer(func(*frame.Header) {})
	long := append(bytes.Clone(good), make([]byte, 8900)...)
	announcement := answer(func(h *frame.Header) { h.Dst, h.Tag, h.Command = frame.Broadcast, 0, 1 })
	tagged := append(append(bytes.Clone(good[:12]), 0x81, 0, 0, 5), good[12:]...) // VLAN 5
	const rounds = 50
	rng := rand.New(rand.NewPCG(1, 1))
	for range rounds {
		frames := [][]byte{
			good, long, announcement, tagged,
			answer(func(h *frame.Header) { h.Tag = rng.Uint32() | 1<<31 }),
			answer(func(h *frame.Header) { h.Tag = 102<<12 | 7 }),
			answer(func(h *frame.Header) { h.Command = 1 }),
			answer(func(h *frame.Header) { h.Addr.Slot = 2 }),
			answer(func(h *frame.Header) { h.Flags = 0 }),
			answer(func(h *frame.Header) { h.Src = frame.MAC{2, 9} }),
			answer(func(h *frame.Header) { h.Dst = frame.MAC{2, 9} }),
			good[:20],
		}
		if n, err := sender.Send(frames); err != nil || n != len(frames) {
			t.Fatal(n, err)
		}
	}
	want := guard.FilterStats{
		Answers: 2 * rounds, Announcements: rounds, Tag: 2 * rounds, Command: rounds, Address: rounds, Request: rounds,
		Source: rounds, Elsewhere: 2 * rounds, Short: rounds,
	}
	until(t, "every frame was looked at", func() bool { s := table.Stats(); return s.Kept()+s.Dropped() >= want.Kept()+want.Dropped() })
	if got := table.Stats(); got != want {
		t.Errorf("counted\n%+v, want\n%+v", got, want)
	}
	bufs := make([][]byte, 400)
	for i := range bufs {
		bufs[i] = make([]byte, 9100)
	}
	n := 0
	for got := 1; got > 0; n += got {
		var err error
		if got, err = l.Recv(bufs[n:], 0); err != nil {
			t.Fatal(err)
		}
	}
	if n != 3*rounds {
		t.Errorf("%d frames in the ring, want %d", n, 3*rounds)
	}
	for _, b := range bufs[:n] {
		if !bytes.Equal(b, good) && !bytes.Equal(b, long) && !bytes.Equal(b, announcement) {
			t.Fatalf("in the ring: %s", frame.Describe(b))
		}
	}
}

// A mirror is a table that remembers what it was told.
type mirror struct {
	*guard.Table
	live [engine.DefaultSlots]struct{ first, count uint32 }
}

// SetTags implements engine.Tags.
func (m *mirror) SetTags(slot int32, first, count uint32, command aoe.Command) {
	m.Table.SetTags(slot, first, count, command)
	m.live[slot].first, m.live[slot].count = first, count
}

func (m *mirror) isLive(tag uint32) bool {
	s := m.live[tag%engine.DefaultSlots]
	return (tag/engine.DefaultSlots-s.first)%(1<<19) < s.count
}

// A watched link remembers the tags of the answers that were outstanding when
// they were received.
type watched struct {
	link.Link
	mirror   *mirror
	accepted map[uint32]bool
}

// Recv implements link.Link.
func (w *watched) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	n, err := w.Link.Recv(bufs, timeout)
	for _, b := range bufs[:n] {
		if h, _, err := frame.Parse(b); err == nil && h.IsResponse() && w.mirror.isLive(h.Tag) {
			w.accepted[h.Tag] = true
		}
	}
	return n, err
}

// TestNoLiveTagIsDropped: a disk whose link takes every frame, and beside it a
// socket with the filter: whatever was outstanding when the disk received it,
// over many thousand requests with losses and repetitions, the filter has kept.
func TestNoLiveTagIsDropped(t *testing.T) {
	const requests = 6000 // of four frames
	pair := vethtest.New(t, veth.Config{})
	table := newTable(t)
	l := on(t, pair.A, openRing(pair.A, 0))
	// The kernel gives a frame to the socket that was bound last first. The other
	// way round the disk would sometimes have taken the answer, and its tag
	// away, before the filter sees it. Its ring holds all there are, so that
	// none is lost behind the filter.
	beside := on(t, pair.A, func() (*ring.Link, error) {
		return ring.Open(ring.Config{Interface: pair.A.Interface, FilterFD: table.FilterFD(), Frames: 6 * requests})
	})
	kept := map[uint32]bool{}
	var collecting sync.WaitGroup
	collecting.Go(func() { // ends when beside is closed
		bufs := make([][]byte, 64)
		for i := range bufs {
			bufs[i] = make([]byte, 9100)
		}
		for {
			n, err := beside.Recv(bufs, -1)
			if err != nil {
				return
			}
			for i, b := range bufs[:n] {
				if h, _, err := frame.Parse(b); err == nil {
					kept[h.Tag] = true
				}
				bufs[i] = b[:cap(b)]
			}
		}
	})
	initiatortest.Start(t, on(t, pair.B, openRing(pair.B, 0)), initiatortest.Config{
		Addr: disk, Sectors: 16384, Faults: initiatortest.Faults{DropEvery: 97, IgnoreEvery: 101, DuplicateEvery: 89},
	})
	m := &mirror{Table: table}
	w := &watched{Link: l, mirror: m, accepted: map[uint32]bool{}}
	d := openDisk(t, initiator.Config{Link: w, Tags: m})
	work(t, d, requests)
	st := d.Stats()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the socket beside has seen everything", func() bool { return beside.Stats().Received >= table.Stats().Kept() })
	beside.Close()
	collecting.Wait()
	missing := 0
	for tag := range w.accepted {
		if !kept[tag] {
			missing++
		}
	}
	if missing > 0 || len(w.accepted) < 4*requests {
		t.Errorf("%d of %d answers to what was outstanding were dropped by the filter", missing, len(w.accepted))
	}
	if st.Retransmitted == 0 || table.Stats().Tag == 0 {
		t.Errorf("nothing was lost or repeated: %+v, %+v", st.Counters, table.Stats())
	}
	t.Logf("%d answers to what was outstanding, %d frames sent again; the filter: %+v", len(w.accepted), st.Retransmitted, table.Stats())
}

// work reads and writes 4 KiB in each of n requests from 16 goroutines, and
// compares.
func work(t testing.TB, d *initiator.Disk, n int) {
	t.Helper()
	const workers = 16
	blocks := d.Size() / 4096 / workers
	var wg sync.WaitGroup
	for g := range int64(workers) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			wrote := map[int64]byte{} // what a block is full of
			p := make([]byte, 4096)
			for range n / workers {
				block := rng.Int64N(min(blocks, 32))
				off := (g*blocks + block) * 4096
				if rng.IntN(2) == 0 {
					if _, err := d.ReadAt(p, off); err != nil {
						t.Error(err)
						return
					}
					if was, ok := wrote[block]; ok && !bytes.Equal(p, bytes.Repeat([]byte{was}, len(p))) {
						t.Errorf("block at %d is not what was written", off)
						return
					}
					continue
				}
				wrote[block] = byte(rng.Uint32())
				if _, err := d.WriteAt(bytes.Repeat([]byte{wrote[block]}, 4096), off); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
