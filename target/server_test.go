package target_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

func TestConfigIsChecked(t *testing.T) {
	for _, row := range []struct {
		name string
		cfg  target.Config
	}{
		{"BufferCount", target.Config{BufferCount: -1}},
		{"BufferCount", target.Config{BufferCount: 1 << 15}},
		{"Workers", target.Config{Workers: -1}},
		{"Batch", target.Config{Batch: -1}},
		{"MaxMTU", target.Config{MaxMTU: 1499}},
		{"MaxMTU", target.Config{MaxMTU: 1 << 16}},
	} {
		if _, err := target.New(row.cfg); err == nil || !strings.Contains(err.Error(), row.name) {
			t.Errorf("%+v: %v, want a word about %s", row.cfg, err, row.name)
		}
	}
}

func TestDisksAreChecked(t *testing.T) {
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	good := target.Disk{Addr: e11, Store: store.Memory(1 << 20)}
	for _, row := range []struct {
		name string
		edit func(*target.Disk)
	}{
		{"a wildcard for a shelf", func(d *target.Disk) { d.Addr.Shelf = frame.AnyShelf }},
		{"a wildcard for a slot", func(d *target.Disk) { d.Addr.Slot = frame.AnySlot }},
		{"no store", func(d *target.Disk) { d.Store = nil }},
		{"an empty store", func(d *target.Disk) { d.Store = store.Memory(0) }},
		{"a mode that there is not", func(d *target.Disk) { d.Mode = 7 }},
		{"a serial that is too long", func(d *target.Disk) { d.Serial = strings.Repeat("x", 21) }},
		{"a serial that is not ASCII", func(d *target.Disk) { d.Serial = "é" }},
		{"a model that is too long", func(d *target.Disk) { d.Model = strings.Repeat("x", 41) }},
		{"a config string that is too long", func(d *target.Disk) { d.ConfigString = make([]byte, 1025) }},
	} {
		d := good
		row.edit(&d)
		if err := s.AddDisk(d); err == nil {
			t.Errorf("%s was accepted", row.name)
		}
	}
	if err := s.AddDisk(good); err != nil {
		t.Fatal(err)
	}
	if err := s.AddDisk(good); !errors.Is(err, os.ErrExist) {
		t.Errorf("an address taken twice: %v, want os.ErrExist", err)
	}
	if err := s.RemoveDisk(e12); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removing what is not there: %v, want os.ErrNotExist", err)
	}
	if err := s.RemoveDisk(e11); err != nil {
		t.Error(err)
	}
}

func TestClosedServer(t *testing.T) {
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, err := range map[string]error{
		"AddDisk": s.AddDisk(disk(e11, 10)),
		"AddLink": s.AddLink(newTap(macA, 1500)),
		"Serve":   s.Serve(context.Background()),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v, want net.ErrClosed", name, err)
		}
	}
}

// Disks come and go while the server serves; a new one is announced everywhere.
func TestDisksComeAndGo(t *testing.T) {
	r := serve(t, target.Config{}, 2, disk(e11, 1000))
	r.silent(r.read(e12, 0, 1))
	if err := r.server.AddDisk(disk(e12, 500)); err != nil {
		t.Fatal(err)
	}
	for _, tp := range r.taps {
		if h, _, _ := frame.Parse(r.announced(tp)); h.Addr != e12 {
			t.Errorf("%s announced, want %s", h.Addr, e12)
		}
	}
	wantOK(t, r.ask(r.write(e12, 0, sectors(1, 1))))
	if err := r.server.RemoveDisk(e12); err != nil {
		t.Fatal(err)
	}
	r.silent(r.read(e12, 0, 1))
	if err := r.server.AddDisk(disk(e12, 500)); err != nil {
		t.Fatal(err)
	}
	r.announced(r.tap)
	wantData(t, r.ask(r.read(e12, 0, 1)), sectors(1, 0)) // another one
}

// A link that is added while the server serves is served, and all disks are
// announced on it.
func TestLinkIsAddedLate(t *testing.T) {
	r := serve(t, target.Config{}, 0, disk(e11, 1000), disk(e12, 1000))
	r.tap = newTap(macTarget, 1500)
	if err := r.server.AddLink(r.tap); err != nil {
		t.Fatal(err)
	}
	r.announced(r.tap)
	r.announced(r.tap)
	wantOK(t, r.ask(r.read(e11, 0, 1)))
}

// What was received is answered before the server ends, and the store is
// synced and closed after that.
func TestCloseAnswersWhatWasReceived(t *testing.T) {
	g := newGate(1<<20, writes)
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: g, Mode: target.ModeFlush})
	r.tap.in <- r.write(e11, 0, sectors(1, 1))
	r.tap.in <- r.write(e11, 0, sectors(1, 2)) // waits for the first
	<-g.entered
	r.until("the second waits", func() bool { return r.stats(e11).Waited == 1 })
	r.stop()
	r.until("the server is ending", func() bool {
		return errors.Is(r.server.AddDisk(disk(e11, 1)), net.ErrClosed)
	})
	g.open(2)
	wantOK(t, r.next(r.tap))
	wantOK(t, r.next(r.tap))
	r.close()
	if n := g.Calls(storetest.Sync); n != 1 {
		t.Errorf("%d syncs when a disk in flush mode was closed, want 1", n)
	}
}

// Removing a disk waits for what is under way, and others are served meanwhile.
func TestRemoveDiskWaits(t *testing.T) {
	g := newGate(1<<20, reads)
	r := serve(t, target.Config{}, 1, disk(e11, 1000), target.Disk{Addr: e12, Store: g})
	f := r.read(e12, 0, 1)
	r.tap.in <- f
	<-g.entered
	removed := make(chan error)
	go func() { removed <- r.server.RemoveDisk(e12) }()
	r.until("it is gone", func() bool { return len(r.server.Stats().Disks) == 1 })
	r.silent(r.read(e12, 1, 1))
	select {
	case err := <-removed:
		t.Fatalf("removed while a request is under way: %v", err)
	default:
	}
	g.open(1)
	wantOK(t, r.answer(r.tap, f))
	if err := <-removed; err != nil {
		t.Error(err)
	}
}

// The error of the last sync reaches who closes.
func TestCloseReportsTheLastSync(t *testing.T) {
	f := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{Fail: [4]float64{storetest.Sync: 1}})
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddDisk(target.Disk{Addr: e11, Store: f, Mode: target.ModeFlush}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, storetest.ErrInjected) {
		t.Errorf("Close: %v, want the error of the sync", err)
	}
}

// TestH19LinkFlapsAndChanges: the server survives it, and announces its disks
// when the link is back or different, not more often than it should.
func TestH19LinkFlapsAndChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := target.New(target.Config{Watch: -1})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddDisk(disk(e11, 1000)); err != nil {
			t.Fatal(err)
		}
		tp := newTap(macTarget, 1500)
		tp.state.Up = false
		if err := s.AddLink(tp); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx) }()
		announcements := func() int {
			synctest.Wait()
			n := len(tp.out)
			for range n {
				<-tp.out
			}
			return n
		}
		if n := announcements(); n != 0 {
			t.Errorf("%d announcements on a link that is down", n)
		}
		up := func(v bool) { tp.change(func(st *link.State) { st.Up = v }) }
		up(true)
		if n := announcements(); n != 1 {
			t.Errorf("%d announcements when the link came up, want 1", n)
		}
		for range 100 { // flaps
			up(false)
			synctest.Wait()
			up(true)
			synctest.Wait()
		}
		if n := announcements(); n != 0 {
			t.Errorf("%d announcements at once on a link that flaps, want none yet", n)
		}
		time.Sleep(time.Second)
		if n := announcements(); n != 1 {
			t.Errorf("%d announcements a second later, want 1", n)
		}
		tp.change(func(st *link.State) { st.MTU = 9000 })
		if n := announcements(); n != 1 {
			t.Errorf("%d announcements of a new MTU, want 1", n)
		}
		tp.change(func(st *link.State) { st.MAC[5]++ })
		time.Sleep(time.Second)
		if n := announcements(); n != 1 {
			t.Errorf("%d announcements of a new MAC, want 1", n)
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A link that fails does not take others along; when the last has failed, Serve
// says why.
func TestFailedLinks(t *testing.T) {
	r := serve(t, target.Config{}, 2, disk(e11, 1000))
	boom := errors.New("the interface is gone")
	r.taps[1].spoil(boom)
	r.until("it has ended", func() bool { return r.server.Stats().Links[1].Ended != "" })
	wantOK(t, r.ask(r.read(e11, 0, 1)))
	r.taps[0].spoil(boom)
	if err := <-r.served; !errors.Is(err, boom) {
		t.Errorf("Serve: %v, want the link's error", err)
	}
	r.want = boom
	r.served <- boom
}

// TestH16ResizeIsAnnounced: a file that grows is noticed, announced, and usable
// to its end; one that shrinks refuses what is gone.
func TestH16ResizeIsAnnounced(t *testing.T) {
	p := image(t, 1<<20)
	st, err := store.Open(store.Config{Path: p})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, target.Config{Watch: time.Millisecond}, 2, target.Disk{Addr: e11, Store: st})
	size := func() uint64 {
		id, err := frame.ParseIdentify(wantOK(t, r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil))))
		if err != nil {
			t.Fatal(err)
		}
		return id.Sectors
	}
	wantFail(t, r.ask(r.read(e11, 2048, 1)), frame.ErrorIDNF)
	for _, n := range []int64{4096, 1024} {
		truncate(t, p, n*512)
		for _, tp := range r.taps {
			r.announced(tp)
		}
		if got := size(); got != uint64(n) {
			t.Errorf("%d sectors, want %d", got, n)
		}
		wantOK(t, r.ask(r.write(e11, uint64(n-1), sectors(1, 1))))
		wantFail(t, r.ask(r.write(e11, uint64(n), sectors(1, 1))), frame.ErrorIDNF)
	}
}

// A lines is a log in memory.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), s)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// The log tells of events, and of a failure once and not for each request.
func TestLogTellsOfEvents(t *testing.T) {
	var l lines
	f := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{
		Fail: [4]float64{storetest.Read: 1, storetest.Sync: 1}, Prompt: 1,
	})
	r := serve(t, target.Config{Log: slog.New(slog.NewTextHandler(&l, nil)), Watch: time.Millisecond}, 1,
		disk(e11, 1000), target.Disk{Addr: e12, Store: f})
	r.until("the disk is logged", func() bool { return l.has("serving") && l.has("serial-e1.1") })
	for range 100 {
		r.ask(r.read(e12, 0, 1))
		r.ask(r.write(e12, 0, sectors(1, 1)))
	}
	r.tap.change(func(st *link.State) { st.MTU = 1500 })
	r.until("the failures and the link are logged", func() bool {
		return l.has("a sync failed") && l.has("the store failed") && l.has("mtu=1500") && l.has(storetest.ErrInjected.Error())
	})
	r.server.RemoveDisk(e11)
	r.until("the end of the disk is logged", func() bool { return l.has("no longer serving") })
	r.want = storetest.ErrInjected
	r.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := strings.Count(l.buf.String(), "a sync failed"); n != 1 {
		t.Errorf("the failed sync is logged %d times", n)
	}
}

// A shy store does not tell its size while it is away, as that of an NBD server.
type shy struct {
	store.Store
	away atomic.Bool
}

func (s *shy) Size() (int64, error) {
	if s.away.Load() {
		return 0, storetest.ErrInjected
	}
	return s.Store.Size()
}

// TestLogTellsWhenItBeginsAndEnds, and not all the time between: that requests find no
// buffer, and that a store is away.
func TestLogTellsWhenItBeginsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lines
		g := newGate(1<<20, reads)
		s := &shy{Store: g}
		r := begin(t, target.Config{Log: slog.New(slog.NewTextHandler(&l, nil)), BufferCount: 4}, 1, target.Disk{Addr: e21, Store: s})
		said := func(when string, want map[string]int) {
			t.Helper()
			time.Sleep(time.Second) // the watcher looks as often
			synctest.Wait()
			for text, n := range want {
				if got := l.count(text); got != n {
					t.Errorf("%s: %q is logged %d times, want %d", when, text, got, n)
				}
			}
		}
		for i := range 2 {
			s.away.Store(true)
			before := r.stats(e21).Overflow
			for range 5 {
				for lba := range uint64(100) {
					r.tap.in <- r.read(e21, lba, 1)
				}
				said("meanwhile", map[string]int{"the store failed": i + 1, "answers again": i, "are dropped": i + 1, "no longer dropped": i})
			}
			held, dropped := r.stats(e21).Held, r.stats(e21).Overflow-before
			g.open(held)
			for range held {
				wantOK(t, r.next(r.tap))
			}
			s.away.Store(false)
			said("soon after", map[string]int{"the store failed": i + 1, "answers again": i + 1, "no longer dropped": i})
			time.Sleep(10 * time.Second)
			said("later", map[string]int{"are dropped": i + 1, fmt.Sprintf("no longer dropped\" disk=e2.1 requests=%d\n", dropped): i + 1})
		}
		r.close()
	})
}

// Stats are for programs to read.
func TestStatsAreJSON(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	wantOK(t, r.ask(r.read(e11, 0, 2)))
	b, err := json.Marshal(r.server.Stats())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		`"addr":"e1.1"`, `"reads":1`, `"readBytes":1024`, `"mode":"sync"`, `"bufferCount":64`, `"buffers":128`,
		`"mac":"02:00:00:00:00:0a"`, `"sectors":17`, `"name":"tap0"`, `"overflow":0`,
	} {
		if !strings.Contains(string(b), s) {
			t.Errorf("no %s in %s", s, b)
		}
	}
}
