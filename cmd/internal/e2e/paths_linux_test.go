package e2e

import (
	"bytes"
	"context"
	bin "encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/frame/link/ring"
	"aoe/frame/link/veth"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"
)

// A pathBed is a disk with a path over each of two cables, under load all the
// time, by workers that check what they read.
type pathBed struct {
	t      *testing.T
	pairs  [2]*veth.Pair
	links  [2]*ring.Link // the target's
	server *target.Server
	store  store.Store
	disk   *initiator.Disk

	mu      sync.Mutex
	longest time.Duration // that a request took, since it was set to 0
	done    int           // requests, since then
	wrong   int           // sectors that were not what was written last, ever
	failed  []error       // requests, ever
}

func newPathBed(t *testing.T) *pathBed {
	t.Helper()
	needRoot(t)
	b := &pathBed{t: t, store: store.Memory(64 << 20)}
	var near [2]*ring.Link
	for i := range b.pairs {
		pair, err := veth.New(veth.Config{MTU: 9000})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := pair.Close(); err != nil {
				t.Error(err)
			}
		})
		b.pairs[i] = pair
		near[i], b.links[i] = b.open(pair.A), b.open(pair.B)
		t.Cleanup(func() { near[i].Close() })
	}
	b.server = b.serve(b.store, "paths-1", b.links[0], b.links[1])
	d, err := initiator.Open(within(t, patience), initiator.Config{
		Link: near[0], Others: []initiator.Port{{Link: near[1]}}, Addr: frame.Addr{Shelf: 1, Slot: 1}, DeadTime: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.disk = d
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *pathBed) open(h *veth.Host) (l *ring.Link) {
	b.t.Helper()
	err := h.Do(func() (err error) {
		l, err = ring.Open(ring.Config{Interface: h.Interface, MinMTU: 9000})
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// serve serves e1.1 on links until the test ends.
func (b *pathBed) serve(s store.Store, serial string, links ...*ring.Link) *target.Server {
	b.t.Helper()
	srv, err := target.New(target.Config{})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := srv.AddDisk(target.Disk{Addr: frame.Addr{Shelf: 1, Slot: 1}, Store: s, Serial: serial}); err != nil {
		b.t.Fatal(err)
	}
	for _, l := range links {
		if err := srv.AddLink(l); err != nil {
			b.t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background()) }() // ends with Close
	b.t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-served); err != nil {
			b.t.Error(err)
		}
	})
	return srv
}

// stamp makes every sector of p say who wrote it, where and when.
func stamp(p []byte, worker, n uint64, off int64) {
	for i := 0; i < len(p); i += frame.SectorSize {
		for k := 0; k < frame.SectorSize; k += 32 {
			at := p[i+k:]
			bin.BigEndian.PutUint64(at, worker)
			bin.BigEndian.PutUint64(at[8:], n)
			bin.BigEndian.PutUint64(at[16:], uint64(off)+uint64(i))
			bin.BigEndian.PutUint64(at[24:], n*0x9e3779b97f4a7c15+uint64(k))
		}
	}
}

// wrongSectors counts those that differ.
func wrongSectors(got, want []byte) (n int) {
	for i := 0; i < len(want); i += frame.SectorSize {
		if !bytes.Equal(got[i:i+frame.SectorSize], want[i:i+frame.SectorSize]) {
			n++
		}
	}
	return n
}

const (
	pathWorkers = 8
	pathRequest = 32 << 10
	pathBlocks  = 16 // of each worker
)

// load writes and reads until stop, which then compares everything with what is
// on the store.
func (b *pathBed) load() (stop func()) {
	quit := make(chan struct{})
	var all sync.WaitGroup
	for k := range pathWorkers {
		all.Go(func() { b.work(quit, int64(k)) })
	}
	return func() {
		close(quit)
		all.Wait()
	}
}

// work is one worker. What it wrote last to each block is what it must read.
func (b *pathBed) work(quit chan struct{}, worker int64) {
	p, q := make([]byte, pathRequest), make([]byte, pathRequest)
	var last [pathBlocks]uint64
	at := func(block uint64) int64 { return (worker*pathBlocks + int64(block)) * pathRequest }
	for n := uint64(1); ; n++ {
		select {
		case <-quit:
			for block, n := range last {
				if n == 0 {
					continue
				}
				off := at(uint64(block))
				stamp(p, uint64(worker), n, off)
				if _, err := b.store.ReadAt(q, off); err != nil {
					b.fault(err)
				}
				b.compare(q, p)
			}
			return
		default:
		}
		off := at(n % pathBlocks)
		stamp(p, uint64(worker), n, off)
		began := time.Now()
		if _, err := b.disk.WriteAt(p, off); err != nil {
			b.fault(fmt.Errorf("write %d of worker %d: %w", n, worker, err))
			return
		}
		last[n%pathBlocks] = n
		written := time.Now()
		old := (n * 7) % pathBlocks // read another than was written, mostly
		if _, err := b.disk.ReadAt(q, at(old)); err != nil {
			b.fault(fmt.Errorf("read %d of worker %d: %w", n, worker, err))
			return
		}
		if last[old] != 0 {
			stamp(p, uint64(worker), last[old], at(old))
			b.compare(q, p)
		}
		b.took(written.Sub(began), time.Since(written))
	}
}

func (b *pathBed) took(all ...time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range all {
		b.longest = max(b.longest, d)
		b.done++
	}
}

func (b *pathBed) fault(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = append(b.failed, err)
}

func (b *pathBed) compare(got, want []byte) {
	n := wrongSectors(got, want)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong += n
}

// reset begins a new measurement.
func (b *pathBed) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.longest, b.done = 0, 0
}

func (b *pathBed) measured() (longest time.Duration, done, wrong int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.failed) > 0 {
		b.t.Fatal(b.failed[0])
	}
	return b.longest, b.done, b.wrong
}

// until waits for a condition, and says how long that took.
func (b *pathBed) until(what string, f func() bool) time.Duration {
	b.t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		<-tick.C
		if time.Since(began) > patience {
			b.t.Fatalf("still not so after %v: %s: %+v", patience, what, b.disk.Stats().Paths)
		}
	}
	return time.Since(began)
}

func (b *pathBed) second() initiator.PathStats { return b.disk.Stats().Paths[1] }

// more waits for n more requests.
func (b *pathBed) more(n int) {
	b.t.Helper()
	_, before, _ := b.measured()
	b.until("requests are answered", func() bool { _, done, _ := b.measured(); return done >= before+n })
}

// A harm is something that is done to the second path, or to both.
type harm struct {
	name     string
	on, heal func() error
	both     bool // frames get shorter on both
}

// felt reports whether the harm has made the initiator do otherwise.
func (b *pathBed) felt(h harm) bool {
	if h.both {
		return b.payload() < 8192
	}
	return b.second().Condition == initiator.IsDown
}

// over reports whether all is as it was.
func (b *pathBed) over(h harm) bool {
	return b.second().Condition == initiator.Up && (!h.both || b.payload() == 8192)
}

// payload is what a frame carries over the path where that is most.
func (b *pathBed) payload() (most int) {
	for _, p := range b.disk.Stats().Paths {
		if p.Condition != initiator.IsDown {
			most = max(most, p.Payload)
		}
	}
	return most
}

// mtus sets the target's MTU on both cables.
func (b *pathBed) mtus(mtu int) error {
	return errors.Join(b.pairs[0].B.SetMTU(mtu), b.pairs[1].B.SetMTU(mtu))
}

func (b *pathBed) harms() []harm {
	ours, theirs := b.pairs[1].A, b.pairs[1].B
	var impostor *target.Server
	var fake *ring.Link
	forged := store.Memory(64 << 20)
	return []harm{
		{name: "our end down", on: func() error { return ours.SetUp(false) }, heal: func() error { return ours.SetUp(true) }},
		{name: "the target's end down", on: func() error { return theirs.SetUp(false) }, heal: func() error { return theirs.SetUp(true) }},
		{name: "the target's end flaps, 10 times", on: func() error { return b.flap(theirs, 10) }, heal: func() error { return theirs.SetUp(true) }},
		{name: "our MTU 1500", on: func() error { return ours.SetMTU(1500) }, heal: func() error { return ours.SetMTU(9000) }},
		{name: "the target's MTU 1500", on: func() error { return theirs.SetMTU(1500) }, heal: func() error { return theirs.SetMTU(9000) }},
		{name: "the target's MTU 1500 on both paths", both: true, on: func() error { return b.mtus(1500) }, heal: func() error { return b.mtus(9000) }},
		{name: "an impostor in the target's place", on: func() error {
			if err := b.server.RemoveLink(b.links[1]); err != nil {
				return err
			}
			b.until("the path is left out", func() bool { return b.second().Condition == initiator.IsDown })
			fake = b.open(theirs) // with the same MAC
			impostor = b.serve(forged, "an impostor", fake)
			b.until("the impostor is seen", func() bool { return strings.Contains(b.second().Why, "another disk") })
			return nil
		}, heal: func() error {
			if n := wrongSectors(zeros, read(b.t, forged)); n > 0 {
				b.t.Errorf("%d sectors were written to the impostor", n)
			}
			if err := impostor.RemoveLink(fake); err != nil {
				return err
			}
			b.links[1] = b.open(theirs)
			return b.server.AddLink(b.links[1])
		}},
	}
}

var zeros = make([]byte, pathWorkers*pathBlocks*pathRequest)

func read(t *testing.T, s store.Store) []byte {
	t.Helper()
	p := make([]byte, len(zeros))
	if _, err := s.ReadAt(p, 0); err != nil {
		t.Error(err)
	}
	return p
}

// flap takes h's interface down and up n times, and leaves it down.
func (b *pathBed) flap(h *veth.Host, n int) error {
	for range n - 1 {
		if err := errors.Join(h.SetUp(false), h.SetUp(true)); err != nil {
			return err
		}
		b.more(20)
	}
	return h.SetUp(false)
}

// TestPathsTable: what two paths make of trouble on one of them, as the table in
// docs/ORDER.md. With AOE_LONG ten rounds, of which the worst count.
func TestPathsTable(t *testing.T) {
	b := newPathBed(t)
	stop := b.load()
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	b.until("both paths are used", func() bool {
		p := b.disk.Stats().Paths
		return len(p) == 2 && p[0].Read.Samples > 50 && p[1].Read.Samples > 50
	})
	table := show.NewTable("one of two paths", ">noticed after", ">longest request", ">healed after", ">requests", ">wrong sectors")
	for _, h := range b.harms() {
		var out, back, longest time.Duration
		requests := 0
		for range choose(10, 1) {
			b.reset()
			began := time.Now()
			if err := h.on(); err != nil {
				t.Fatal(err)
			}
			b.until(h.name+": felt", func() bool { return b.felt(h) })
			out = max(out, time.Since(began))
			b.more(500)
			began = time.Now()
			if err := h.heal(); err != nil {
				t.Fatal(err)
			}
			b.until(h.name+": over", func() bool { return b.over(h) })
			back = max(back, time.Since(began))
			n := b.second().Read.Samples
			b.until(h.name+": the path is used", func() bool { return b.second().Read.Samples > n+20 })
			took, done, _ := b.measured()
			longest, requests = max(longest, took), requests+done
		}
		_, _, wrong := b.measured()
		table.Row(h.name, show.Duration(out), show.Duration(longest), show.Duration(back), fmt.Sprint(requests), fmt.Sprint(wrong))
	}
	stop()
	stopped = true
	if _, _, wrong := b.measured(); wrong != 0 {
		t.Errorf("%d wrong sectors", wrong)
	}
	var text strings.Builder
	if err := table.Markdown(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("requests of %d KiB by %d workers, each read compared\n%s", pathRequest>>10, pathWorkers, text.String())
}
