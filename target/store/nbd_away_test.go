package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// crash ends all connections and makes v's disk the one that a restart finds: in
// this order, so that nothing is answered which the crash forgets unasked.
func (v *nbdServer) crash(rng *rand.Rand) {
	v.set(func() {
		for c := range v.conns {
			c.Close()
		}
		v.store = v.store.(*storetest.Crash).Restart(rng)
	})
}

// The server's machine crashes again and again, and forgets what it was not
// asked to make durable. With Durable, nothing that was answered is lost, and
// nothing fails; H17.
func TestNBDDurableSurvivesCrashes(t *testing.T) {
	const seed, users, crashes, between = 1, 8, 20, 100
	rng := rand.New(rand.NewPCG(seed, 0))
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(users*64*512))
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true, Patience: -1, InFlight: users})
	w := startWriters(n, seed, users)
	for range crashes {
		w.wait(between)
		v.crash(rng)
	}
	w.wait(between) // the last crash was noticed by somebody
	w.stopAndCheck(t)
	v.crash(rng)
	w.check(t)
	if st := n.Stats(); st.Connections != crashes+2 || st.Repeated == 0 {
		t.Errorf("Stats() = %+v after %d crashes", st, crashes+1)
	}
}

// Without Durable, what was answered and not synced may be lost with the server:
// one Sync says so, no more and no fewer.
func TestNBDTellsOnceOfLostWrites(t *testing.T) {
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(1<<20))
	rng := rand.New(rand.NewPCG(1, 0))
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: -1})
	p := bytes.Repeat([]byte{1}, 4096)
	steps := []struct {
		what string
		do   func() error
		want error
	}{
		{"a write", func() error { _, err := n.WriteAt(p, 0); return err }, nil},
		{"a sync", n.Sync, nil},
		{"a crash with all synced, and a sync", func() error { v.crash(rng); return n.Sync() }, nil},
		{"a write", func() error { _, err := n.WriteAt(p, 8192); return err }, nil},
		{"a crash, and a read", func() error { v.crash(rng); _, err := n.ReadAt(p, 0); return err }, nil},
		{"a sync", n.Sync, store.ErrLost},
		{"another sync", n.Sync, nil},
		{"a trim", func() error { return n.Trim(0, 512) }, nil},
		{"a crash", func() error { v.crash(rng); return nil }, nil},
		{"a write", func() error { _, err := n.WriteAt(p, 8192); return err }, nil},
		{"a sync", n.Sync, store.ErrLost},
		{"another sync", n.Sync, nil},
	}
	for i, s := range steps {
		if err := s.do(); !errors.Is(err, s.want) {
			t.Errorf("step %d, %s: %v, want %v", i, s.what, err, s.want)
		}
	}
}

// A flush that was under way when the server crashed has lost what it was to
// make durable; it must not be repeated as if there were nothing to it.
func TestNBDFlushInFlightIsLost(t *testing.T) {
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(1<<20))
	rng := rand.New(rand.NewPCG(1, 0))
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: -1})
	if _, err := n.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	v.set(func() {
		v.hook = func(_ net.Conn, r seenRequest) bool {
			if r.command != 3 {
				return true
			}
			v.set(func() { v.hook = nil })
			v.crash(rng)
			return false
		}
	})
	if err := n.Sync(); !errors.Is(err, store.ErrLost) {
		t.Errorf("Sync: %v, want ErrLost", err)
	}
	if err := n.Sync(); err != nil {
		t.Errorf("the next Sync: %v", err)
	}
}

// A flush covers what was answered when it was sent, and no write that is
// answered before it is.
func TestNBDFlushCoversWhatWasBefore(t *testing.T) {
	v, uri := newNBDServer(t, "unix", storetest.NewCrash(1<<20))
	v.set(func() { v.hold, v.record = 2, true }) // two answers, the last first
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: -1})
	flushed := make(chan error)
	go func() { flushed <- n.Sync() }()
	for len(v.requests()) == 0 { // it has arrived
		time.Sleep(time.Millisecond)
	}
	if _, err := n.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	v.set(func() { v.hold = 0 })
	v.crash(rand.New(rand.NewPCG(1, 0)))
	if err := n.Sync(); !errors.Is(err, store.ErrLost) {
		t.Errorf("Sync: %v, want ErrLost: the write came after the flush", err)
	}
}

// With Durable a first Sync is sent: another process may have written before.
// After it, there is nothing to be asked for.
func TestNBDDurableUsesFUA(t *testing.T) {
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	v.set(func() { v.record = true })
	n := openNBD(t, store.NBDConfig{URI: uri, Durable: true})
	for range 2 {
		n.WriteAt(make([]byte, 512), 0)
		n.Trim(0, 512)
		if err := n.Sync(); err != nil {
			t.Error(err)
		}
	}
	var got []uint16
	for _, r := range v.requests() {
		got = append(got, r.command<<8|r.flags)
	}
	if want := []uint16{1<<8 | 1, 6<<8 | 1, 3 << 8, 1<<8 | 1, 6<<8 | 1}; !slices.Equal(got, want) {
		t.Errorf("sent %x, want %x: writes and zeroes with FUA, one flush", got, want)
	}
}

// Requests that were not answered are sent again, in the order in which they
// were made, before a later one.
func TestNBDRepeatsInOrder(t *testing.T) {
	const many = 20 // more than go out with one system call
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	v.set(func() { v.hold, v.record = many+1, true })
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: -1})
	var users sync.WaitGroup
	for i := range int64(many) {
		users.Go(func() {
			if _, err := n.WriteAt(make([]byte, 512), i*512); err != nil {
				t.Error(err)
			}
		})
		for len(v.requests()) <= int(i) { // it has arrived
			time.Sleep(time.Millisecond)
		}
	}
	v.set(func() { v.flags = 0 }) // lets nobody in
	v.breakAll()
	users.Go(func() {
		if _, err := n.WriteAt(make([]byte, 512), many*512); err != nil {
			t.Error(err)
		}
	})
	v.set(func() { v.flags, v.hold = srvAll, 0 })
	users.Wait()
	got := v.requests()[many:]
	if len(got) != many+1 {
		t.Fatalf("%d requests after the break, want %d", len(got), many+1)
	}
	for i, r := range got[:many] {
		if r.off != uint64(i)*512 {
			t.Errorf("number %d after the break is the one for %d", i, r.off)
		}
	}
	if st := n.Stats(); st.Repeated < many || st.Connections != 2 {
		t.Errorf("Stats() = %+v, want at least %d repeated", st, many)
	}
}

// A connection that ends without the server having closed it leaves writes that
// the server may still carry out: they, and what comes later, wait (H1).
func TestNBDFenceAfterATornConnection(t *testing.T) {
	const fence = 400 * time.Millisecond
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: -1, Fence: fence})
	babble := func(on uint16) {
		v.set(func() {
			v.hook = func(c net.Conn, r seenRequest) bool {
				if r.command == on {
					v.set(func() { v.hook = nil })
					c.Write([]byte("this is no reply at all"))
				}
				return true
			}
		})
	}
	began := time.Now()
	babble(1)
	if _, err := n.WriteAt(make([]byte, 512), 0); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d < fence {
		t.Errorf("the write was repeated after %v, want %v", d, fence)
	}
	if st := n.Stats(); st.Connections != 2 || st.Repeated != 1 {
		t.Errorf("Stats() = %+v", st)
	}
}

// A server that comes back with another size is noticed (H16): what is behind the
// end is refused, also what was under way.
func TestNBDNoticesAnotherSize(t *testing.T) {
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: -1})
	v.set(func() {
		v.hook = func(net.Conn, seenRequest) bool {
			v.set(func() { v.hook, v.size = nil, 1<<19 })
			return false
		}
	})
	if _, err := n.ReadAt(make([]byte, 512), 1<<19); !errors.Is(err, store.ErrRange) {
		t.Errorf("ReadAt behind the new end: %v, want ErrRange", err)
	}
	if size, _ := n.Size(); size != 1<<19 {
		t.Errorf("Size() = %d, want %d", size, 1<<19)
	}
	v.set(func() { v.size = 1 << 20 })
	v.breakAll()
	for size := int64(0); size != 1<<20; size, _ = n.Size() {
		if _, err := n.ReadAt(make([]byte, 512), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that comes back able to do less is not accepted: what Info promised
// would be wrong.
func TestNBDRefusesALesserServer(t *testing.T) {
	for name, less := range map[string]func(v *nbdServer){
		"no FLUSH":        func(v *nbdServer) { v.flags &^= srvFlush },
		"no FUA":          func(v *nbdServer) { v.flags &^= srvFUA },
		"no WRITE_ZEROES": func(v *nbdServer) { v.flags &^= srvZeroes },
		"read-only":       func(v *nbdServer) { v.flags |= srvReadOnly },
		"no 64 KiB":       func(v *nbdServer) { v.minimum = 512 }, // it tells the most then, too
	} {
		t.Run(name, func(t *testing.T) {
			v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
			n := openNBD(t, store.NBDConfig{URI: uri, Patience: time.Second})
			v.set(func() { less(v) })
			v.breakAll()
			_, err := n.ReadAt(make([]byte, 512), 0)
			if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "less") && !strings.Contains(err.Error(), "read-only") {
				t.Errorf("ReadAt: %v, want that the server offers less", err)
			}
		})
	}
}

// A server that lets us in and then says that it is shutting down has not done
// what it was asked: it is asked again, ever more slowly, until patience ends.
func TestNBDShuttingDown(t *testing.T) {
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: 3 * time.Second})
	const eSHUTDOWN = 108
	v.set(func() { v.refuse = eSHUTDOWN })
	if _, err := n.WriteAt(make([]byte, 512), 0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("WriteAt: %v, want os.ErrDeadlineExceeded", err)
	}
	// Pauses of 50, 100, 200, 400, 800 and 1600 ms.
	if st := n.Stats(); st.Connections < 2 || st.Connections > 8 {
		t.Errorf("%d connections in three seconds", st.Connections)
	}
	v.set(func() { v.refuse = 0 })
	began := time.Now()
	for _, err := n.WriteAt(make([]byte, 512), 0); err != nil; _, err = n.WriteAt(make([]byte, 512), 0) {
		if time.Since(began) > time.Minute {
			t.Fatalf("the server is back, and: %v", err)
		}
	}
}
