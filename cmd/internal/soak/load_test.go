package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/target"
	"aoe/target/store"
)

// A forgetful store acknowledges every 500th write without doing it.
type forgetful struct {
	store.Store
	writes atomic.Uint64
}

func (f *forgetful) WriteAt(p []byte, off int64) (int, error) {
	if f.writes.Add(1)%500 == 0 {
		return len(p), nil
	}
	return f.Store.WriteAt(p, off)
}

// A broken store fails its 500th write.
type broken struct{ forgetful }

func (b *broken) WriteAt(p []byte, off int64) (int, error) {
	if b.writes.Add(1) >= 500 {
		return 0, errors.New("broken on purpose")
	}
	return b.Store.WriteAt(p, off)
}

// on runs a load on a disk of 1 MiB until until is closed or the load fails.
func on(t *testing.T, st store.Store, enough uint64) (*load, error) {
	t.Helper()
	sw := linktest.NewSwitch(linktest.Config{MTU: 9000})
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.AddDisk(target.Disk{Addr: e11, Store: st, Mode: target.ModeFlush, Serial: "S1"})
	if err := errors.Join(err, s.AddLink(sw.Port(frame.MAC{2, 0, 0, 0, 0, 2}))); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }() // ends with s.Close
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	port := sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	d, err := initiator.Open(t.Context(), initiator.Config{Link: port, Addr: e11, Depth: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(d.Close(), port.Close()); err != nil {
			t.Error(err)
		}
	}()
	l, err := newLoad(d, 4096, 4)
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{})
	ended := l.done
	l.done = func(r *initiator.Request) { // on the loop, so one at a time
		ended(r)
		select {
		case <-reached:
		default:
			if l.requests.Load() >= enough || l.halted.Load() {
				close(reached)
			}
		}
	}
	l.start(t.Context())
	<-reached
	err = l.wait()
	if _, err := newLoad(d, 1<<20, 4); err == nil {
		t.Error("a load was made for a disk that is too small for it")
	}
	return l, err
}

func TestLoadOnASoundDisk(t *testing.T) {
	l, err := on(t, store.Memory(1<<20), 5000) // some rounds over the disk, and flushes
	if err != nil || l.wrong.Load() != 0 || l.errors.Load() != 0 {
		t.Errorf("%v, %d wrong, %d errors", err, l.wrong.Load(), l.errors.Load())
	}
}

// TestLoadFindsALostWrite: otherwise it would show that fast nonsense is flat.
func TestLoadFindsALostWrite(t *testing.T) {
	if l, err := on(t, &forgetful{Store: store.Memory(1 << 20)}, 5000); !errors.Is(err, errWrong) || l.wrong.Load() == 0 {
		t.Errorf("%v, %d wrong", err, l.wrong.Load())
	}
}

func TestLoadEndsWithAnError(t *testing.T) {
	l, err := on(t, &broken{forgetful{Store: store.Memory(1 << 20)}}, 1<<40)
	var ata *initiator.ATAError
	if !errors.As(err, &ata) || l.errors.Load() == 0 {
		t.Errorf("%v, %d errors", err, l.errors.Load())
	}
}
