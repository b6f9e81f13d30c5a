package store_test

import (
	"bytes"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// until waits for what nothing tells of.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// writeMany writes a block of its own number to each of many places at once, and
// returns a function that waits for all and returns their errors.
func writeMany(n *store.NBD, from, many int64) func() []error {
	errs := make([]error, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() { _, errs[i] = n.WriteAt(block(from+i), (from+i)*512) })
	}
	return func() []error {
		all.Wait()
		return errs
	}
}

func block(i int64) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 512) }

// wantWritten wants no error, and what was written on the disk.
func wantWritten(t *testing.T, n *store.NBD, errs []error) {
	t.Helper()
	p := make([]byte, 512)
	for i, err := range errs {
		if _, rerr := n.ReadAt(p, int64(i)*512); err != nil || rerr != nil || !bytes.Equal(p, block(int64(i))) {
			t.Errorf("write %d: %v; then %v, found %d, want %d", i, err, rerr, p[0], byte(i+1))
		}
	}
}

// gate lets the server begin with the first request of which wants is true when
// it is opened.
func (v *nbdServer) gate(wants func(seenRequest) bool) (open func()) {
	pass := make(chan struct{})
	var once atomic.Bool
	v.set(func() {
		v.hook = func(_ net.Conn, r seenRequest) bool {
			if wants(r) && once.CompareAndSwap(false, true) {
				<-pass
			}
			return true
		}
	})
	return sync.OnceFunc(func() { close(pass) })
}

func withFUA(r seenRequest) bool { return r.flags&1 != 0 }
func isFlush(r seenRequest) bool { return r.command == 3 }

// A write that is made alone is one round trip, and thirty-one that are made
// meanwhile share flushes. All are on stable storage when they return.
func TestNBDGroupCommit(t *testing.T) {
	const many = 32
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(1<<20))
	v.set(func() { v.record = true })
	open := v.gate(withFUA)
	defer open()
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1})
	first := writeMany(n, 0, 1)
	until(t, "the first write arrives", func() bool { return len(v.requests()) == 1 })
	rest := writeMany(n, 1, many-1)
	until(t, "all are under way", func() bool { all, _ := n.Changing(); return all == many })
	open()
	errs := append(first(), rest()...)
	syncs := 0
	for _, r := range v.requests() {
		if withFUA(r) || isFlush(r) {
			syncs++
		}
	}
	// One with FUA; flushes for those answered before the first was sent,
	// before the second, and hardly ever more.
	if syncs < 2 || syncs > many/4 {
		t.Errorf("%d syncs of the server's disk for %d writes", syncs, many)
	}
	v.crash(rand.New(rand.NewPCG(1, 0)))
	wantWritten(t, n, errs)
	if all, _ := n.Changing(); all != 0 {
		t.Errorf("%d changes are under way for ever", all)
	}
}

// A write ends with a flush that was sent after it was answered, and not with one
// that was under way then.
func TestNBDGroupWaitsForALaterFlush(t *testing.T) {
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(1<<20))
	var flushes atomic.Int32
	var third atomic.Bool // has returned
	v.set(func() {
		v.flags &^= srvFUA
		v.hold = 2 // two answers, the last first
		v.hook = func(_ net.Conn, r seenRequest) bool {
			switch {
			case isFlush(r):
				if flushes.Add(1) == 2 && third.Load() {
					t.Error("the third write returned before the second flush")
				}
			case r.off == 2*512:
				v.set(func() { v.hold = 0 }) // for the next
			}
			return true
		}
	})
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1})
	before := writeMany(n, 0, 2) // answered together
	until(t, "a flush arrives, and its answer is kept", func() bool { return flushes.Load() == 1 })
	_, err := n.WriteAt(block(2), 2*512) // is answered before it
	third.Store(true)
	errs := append(before(), err)
	if got := flushes.Load(); got != 2 {
		t.Errorf("%d flushes, want 2", got)
	}
	v.crash(rand.New(rand.NewPCG(1, 0)))
	wantWritten(t, n, errs)
}

// Nobody returns while the flush is under way.
func TestNBDGroupNothingReturnsBeforeTheFlush(t *testing.T) {
	const many = 8
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	v.set(func() { v.flags &^= srvFUA; v.record = true })
	open := v.gate(isFlush)
	defer open()
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1})
	wait := writeMany(n, 0, many)
	until(t, "the flush arrives", func() bool { return slices.ContainsFunc(v.requests(), isFlush) })
	until(t, "all are under way while the flush is", func() bool { all, _ := n.Changing(); return all == many })
	open()
	wantWritten(t, n, wait())
}

// The server's machine crashes between the answers to writes and the flush that
// they wait for, and forgets them: they are made again, and nobody notices.
func TestNBDGroupIsMadeAgain(t *testing.T) {
	const many = 8
	rng := rand.New(rand.NewPCG(1, 0))
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(1<<20))
	v.set(func() {
		v.flags &^= srvFUA
		v.hook = func(_ net.Conn, r seenRequest) bool {
			if !isFlush(r) {
				return true
			}
			v.set(func() { v.hook = nil })
			v.crash(rng)
			return false
		}
	})
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1})
	errs := writeMany(n, 0, many)()
	v.crash(rng)
	wantWritten(t, n, errs)
	if st := n.Stats(); st.Connections != 3 || st.Repeated == 0 {
		t.Errorf("Stats() = %+v, want some that were answered repeated", st)
	}
	if err := n.Sync(); err != nil {
		t.Errorf("Sync: %v: nothing that was answered is lost", err)
	}
}

// TestNBDGroupSurvivesCrashes is TestNBDDurableSurvivesCrashes where only flushes
// make anything durable.
func TestNBDGroupSurvivesCrashes(t *testing.T) {
	const seed, users, crashes, between = 2, 8, 20, 100
	rng := rand.New(rand.NewPCG(seed, 0))
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(users*64*512))
	v.set(func() { v.flags &^= srvFUA })
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1, InFlight: users})
	w := startWriters(n, seed, users)
	for range crashes {
		w.wait(between)
		v.crash(rng)
	}
	w.wait(between)
	w.stopAndCheck(t)
	v.crash(rng)
	w.check(t)
}

// TestH17FailedGroupFlushIsSticky: all that wait for a flush which fails fail, and
// so does what is changed or synced later, though the server says that all is
// well. Reads go on.
func TestH17FailedGroupFlushIsSticky(t *testing.T) {
	const many = 8
	var failing atomic.Bool
	v, uri := newNBDServer(t, "unix", storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{Hook: func(c storetest.Call) error {
		if c.Op == storetest.Sync && failing.Load() {
			return syscall.EIO
		}
		return nil
	}}))
	v.set(func() { v.flags &^= srvFUA })
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1})
	wantWritten(t, n, writeMany(n, 0, 1)())
	failing.Store(true)
	errs := writeMany(n, 0, many)()
	failing.Store(false)
	_, werr := n.WriteAt(block(0), 0)
	for i, err := range append(errs, werr, n.Trim(0, 512), n.Sync()) {
		if err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("%d: %v, want the server's error", i, err)
		}
	}
	if _, err := n.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("ReadAt: %v", err)
	}
}

// A write with FUA that fails may have been told what the server lost of others
// that are under way: they fail too. What comes later does not.
func TestNBDGroupFailsWithFUA(t *testing.T) {
	const many = 8
	var failed atomic.Bool
	v, uri := newNBDServer(t, "unix", storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{Hook: func(c storetest.Call) error {
		if c.Op == storetest.Sync && failed.CompareAndSwap(false, true) {
			return syscall.EIO
		}
		return nil
	}}))
	v.set(func() { v.record = true })
	open := v.gate(withFUA)
	defer open()
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1})
	first := writeMany(n, 0, 1)
	until(t, "the first write arrives", func() bool { return len(v.requests()) == 1 })
	rest := writeMany(n, 1, many-1)
	until(t, "all are sent", func() bool { _, sent := n.Changing(); return sent == many })
	open()
	for i, err := range append(first(), rest()...) {
		if err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("write %d: %v, want the server's error", i, err)
		}
	}
	wantWritten(t, n, writeMany(n, 0, many)())
}

// Writes that share flushes allocate nothing either.
func TestNBDGroupAllocatesNothing(t *testing.T) {
	const users = 8
	_, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true})
	begin, done := make(chan int64), make(chan error, users)
	for range users {
		p := make([]byte, 512)
		go func() { // ends with the test
			for i := range begin {
				_, err := n.WriteAt(p, i*512)
				done <- err
			}
		}()
	}
	defer close(begin)
	allocs := testing.AllocsPerRun(100, func() {
		for i := range int64(users) {
			begin <- i
		}
		for range users {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for %d writes at once, want 0", allocs, users)
	}
}
