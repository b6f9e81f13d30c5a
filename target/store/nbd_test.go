package store_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// openNBD opens cfg and closes it with the test, unless the test did.
func openNBD(t *testing.T, cfg store.NBDConfig) *store.NBD {
	t.Helper()
	n, err := store.OpenNBD(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestNBDConforms(t *testing.T) {
	for _, row := range []struct {
		name, network string
		durable       bool
		flags         uint16
		minimum       uint32
		window        int64
	}{
		{"unix", "unix", false, srvAll, 0, 0},
		{"unix durable", "unix", true, srvAll, 0, 0},
		{"tcp", "tcp", true, srvAll, 512, 0},
		{"window", "tcp", false, srvAll, 1, 1536},
		{"trim without zeroes", "unix", false, 1 | srvFlush | srvTrim, 0, 0},
		{"nothing but reads and writes", "unix", true, 1, 0, 0},
		{"larger blocks when asked", "unix", true, srvAll, 4096, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			storetest.Conform(t, func(t *testing.T, size int64) store.Store {
				v, uri := newNBDServer(t, row.network, store.Memory(size+2*row.window))
				v.flags, v.minimum = row.flags, row.minimum
				cfg := store.NBDConfig{URI: uri, Durable: row.durable, Offset: row.window}
				if row.window > 0 {
					cfg.Length = size
				}
				n, err := store.OpenNBD(cfg)
				if err != nil {
					t.Fatal(err)
				}
				return n
			})
		})
	}
}

func TestNBDTellsWhatTheServerCan(t *testing.T) {
	v, uri := newNBDServer(t, "tcp", store.Memory(1<<20))
	v.minimum = 512
	n := openNBD(t, store.NBDConfig{URI: uri})
	i := n.Info()
	if i.Name != uri || i.Identity != "" || i.PhysicalBlock != 4096 || !i.Trim || !i.TrimZeroes || i.Volatile || i.OneWriter {
		t.Errorf("Info() = %+v", i)
	}
	v.set(func() { v.flags, v.size = 1|srvReadOnly, 1<<20-100 })
	r := openNBD(t, store.NBDConfig{URI: uri, ReadOnly: true})
	i = r.Info()
	if i.Trim || !i.ReadOnly || i.Tail != 412 {
		t.Errorf("Info() of a read-only export = %+v", i)
	}
	if _, err := r.WriteAt(make([]byte, 512), 0); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("WriteAt: %v, want ErrReadOnly", err)
	}
	if err := r.Trim(0, 512); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Trim: %v, want ErrReadOnly", err)
	}
	if err := r.Sync(); err != nil {
		t.Errorf("Sync: %v", err)
	}
}

func TestNBDOpenRefuses(t *testing.T) {
	v, uri := newNBDServer(t, "tcp", store.Memory(1<<20))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for _, row := range []struct {
		name string
		cfg  store.NBDConfig
		set  func()
		want string
	}{
		{"nobody there", store.NBDConfig{URI: "nbd://" + nobody}, nil, "refused"},
		{"another export", store.NBDConfig{URI: strings.TrimSuffix(uri, "disk") + "none"}, nil, "nbdinfo"},
		{"a read-only export for writing", store.NBDConfig{URI: uri}, func() { v.flags |= srvReadOnly }, "read-only"},
		{"no flags", store.NBDConfig{URI: uri}, func() { v.flags = 0 }, "flags"},
		{"a window behind the end", store.NBDConfig{URI: uri, Offset: 1 << 20}, nil, "nothing can be served"},
		{"less than a sector", store.NBDConfig{URI: uri}, func() { v.size = 511 }, "nothing can be served"},
		{"a negative offset", store.NBDConfig{URI: uri, Offset: -512}, nil, "multiples"},
		{"negative requests", store.NBDConfig{URI: uri, InFlight: -1}, nil, "in flight"},
		{"TLS", store.NBDConfig{URI: "nbds://localhost/"}, nil, "TLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			v.set(func() {
				v.flags, v.size = srvAll, 0
				if row.set != nil {
					row.set()
				}
			})
			n, err := store.OpenNBD(row.cfg)
			if err == nil {
				n.Close()
				t.Fatal("was opened")
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v: want %q in it", err, row.want)
			}
		})
	}
}

// As many requests as there are slots are under way at once, and answers may
// come in any order: this server sends none before it has all requests, and the
// last first.
func TestNBDKeepsManyInFlight(t *testing.T) {
	const many = 32
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	v.set(func() { v.hold = many })
	n := openNBD(t, store.NBDConfig{URI: uri, InFlight: many})
	each := func(f func(p []byte, off int64)) {
		var users sync.WaitGroup
		for i := range int64(many) {
			users.Go(func() { f(bytes.Repeat([]byte{byte(i)}, 4096), i*4096) })
		}
		users.Wait()
	}
	each(func(p []byte, off int64) {
		if _, err := n.WriteAt(p, off); err != nil {
			t.Error(err)
		}
	})
	each(func(want []byte, off int64) {
		got := make([]byte, len(want))
		if _, err := n.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("at %d: not what was written (%v)", off, err)
		}
	})
}

// What the server says is what the caller gets, and the connection goes on.
func TestNBDPassesErrorsOn(t *testing.T) {
	under := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{Fail: [4]float64{1, 1, 1, 1}})
	v, uri := newNBDServer(t, "unix", under)
	n := openNBD(t, store.NBDConfig{URI: uri})
	p := make([]byte, 512)
	_, rerr := n.ReadAt(p, 0)
	_, werr := n.WriteAt(p, 0)
	for name, err := range map[string]error{"ReadAt": rerr, "WriteAt": werr, "Sync": n.Sync(), "Trim": n.Trim(0, 512)} {
		if err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("%s: %v, want the server's error", name, err)
		}
	}
	v.set(func() { v.store = store.Memory(1 << 10) }) // which has less: ENOSPC
	if _, err := n.WriteAt(p, 8192); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("WriteAt: %v, want the server's error", err)
	}
	if c := n.Stats().Connections; c != 1 {
		t.Errorf("%d connections, want 1", c)
	}
}

// A request fails when the server is away longer than one is patient, and the
// store goes on when it is back.
func TestNBDPatienceEnds(t *testing.T) {
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	n := openNBD(t, store.NBDConfig{URI: uri, Patience: 200 * time.Millisecond})
	v.set(func() { v.flags = 0 }) // refuses to let in
	v.breakAll()
	began := time.Now()
	// Whichever of them notices that the connection is gone.
	for range 2 {
		if _, err := n.ReadAt(make([]byte, 512), 0); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("ReadAt: %v, want os.ErrDeadlineExceeded", err)
		}
	}
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("gave up after %v", d)
	}
	if _, err := n.Size(); err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("Size: %v, want that the server is away", err)
	}
	v.set(func() { v.flags = srvAll })
	for _, err := n.ReadAt(make([]byte, 512), 0); err != nil; _, err = n.ReadAt(make([]byte, 512), 0) {
		if time.Since(began) > time.Minute {
			t.Fatalf("the server is back, and: %v", err)
		}
	}
	if st := n.Stats(); st.Expired < 2 || st.Connections != 2 {
		t.Errorf("Stats() = %+v", st)
	}
}

// What is in flight when the store is closed while the server is away fails: the
// target does not do that, but it must not hang either.
func TestNBDCloseWhileAway(t *testing.T) {
	v, uri := newNBDServer(t, "unix", store.Memory(1<<20))
	n, err := store.OpenNBD(store.NBDConfig{URI: uri, Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	v.set(func() { v.flags = 0 })
	v.breakAll()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
