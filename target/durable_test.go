package target_test

import (
	"syscall"
	"testing"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// TestH17ChangeIsAnsweredAfterTheSync: in sync mode the answer to a write
// waits for a sync that began after the data was written. So does that to
// a trim: who was promised zeros may count on them.
func TestH17ChangeIsAnsweredAfterTheSync(t *testing.T) {
	g := newGate(1<<20, func(c storetest.Call) bool { return c.Op == storetest.Sync })
	r := serve(t, target.Config{}, 1, disk(e11, 1000), target.Disk{Addr: e21, Store: g})
	for _, f := range [][]byte{r.write(e21, 0, sectors(8, 1)), r.trim(e21, frame.TrimRange{LBA: 2, Sectors: 2})} {
		r.silent(f)
		<-g.entered // the sync: the change is made, and not answered
		r.barrier()
		g.open(1)
		wantOK(t, r.answer(r.tap, f))
	}
	g.open(1) // for the sync when the disk is closed
}

// Writes that arrive while a sync is under way share the next one, and hold no
// worker while they wait: here there is only one for each of two.
func TestGroupCommit(t *testing.T) {
	const n = 50
	g := newGate(1<<20, func(c storetest.Call) bool { return c.Op == storetest.Sync })
	r := serve(t, target.Config{Workers: 2}, 1, target.Disk{Addr: e21, Store: g})
	first := r.write(e21, 0, sectors(1, 1))
	r.tap.in <- first
	<-g.entered
	for i := range n {
		r.tap.in <- r.write(e21, uint64(i+1), sectors(1, 2))
	}
	r.until("all are written and wait", func() bool { return r.stats(e21).Unsynced == n })
	g.open(1)
	wantOK(t, r.answer(r.tap, first))
	<-g.entered
	g.open(1)
	for range n {
		wantOK(t, r.next(r.tap))
	}
	if st := r.stats(e21); st.Syncs != 2 || st.Writes != n+1 {
		t.Errorf("%d syncs for %d writes, want 2", st.Syncs, st.Writes)
	}
	r.until("all buffers are back", func() bool { return r.stats(e21).Held == 0 })
	g.open(1)
}

// A sharing store says how many writes it wants to have under way.
type sharing struct {
	*gate
	writers int
}

func (s sharing) Info() store.Info {
	i := s.gate.Info()
	i.Writers = s.writers
	return i
}

// Writes that share what makes them durable are under way together, however few
// workers there are.
func TestManyWritersAtOnce(t *testing.T) {
	const n = 20
	g := newGate(1<<20, writes)
	r := serve(t, target.Config{Workers: 2}, 1, target.Disk{Addr: e21, Store: sharing{g, n}})
	for i := range n {
		r.tap.in <- r.write(e21, uint64(i), sectors(1, 1))
	}
	for range n {
		<-g.entered
	}
	g.open(n)
	for range n {
		wantOK(t, r.next(r.tap))
	}
}

// A write that is done does not wait for one that is still to be made, which would
// wait for another sync.
func TestNoWriteWaitsForTheNext(t *testing.T) {
	g := newGate(1<<20, writes)
	r := serve(t, target.Config{Workers: 2}, 1, target.Disk{Addr: e21, Store: sharing{g, 2}})
	for i := range 3 {
		r.tap.in <- r.write(e21, uint64(i), sectors(1, 1))
	}
	for range 2 {
		<-g.entered
	}
	g.open(1)
	wantOK(t, r.next(r.tap))
	<-g.entered
	g.open(2)
	for range 2 {
		wantOK(t, r.next(r.tap))
	}
}

// TestH17FlushIsASync: in both modes; and in flush mode a write is not one.
func TestH17FlushIsASync(t *testing.T) {
	for _, mode := range []target.Mode{target.ModeSync, target.ModeFlush} {
		for _, prompt := range []float64{0, 1} {
			f := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{Prompt: prompt})
			r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: f, Mode: mode})
			wantOK(t, r.ask(r.write(e11, 0, sectors(1, 1))))
			want := 1
			if mode == target.ModeFlush {
				want = 0
			}
			if n := f.Calls(storetest.Sync); n != want {
				t.Errorf("%v: %d syncs after a write, want %d", mode, n, want)
			}
			for _, op := range []frame.Opcode{frame.OpFlush, frame.OpFlushExt} {
				wantOK(t, r.ask(r.ata(e11, op, 0, 0, nil)))
				want++
				if n := f.Calls(storetest.Sync); n != want {
					t.Errorf("%v: %d syncs after %v, want %d", mode, n, op, want)
				}
			}
			r.close()
			if n := f.Calls(storetest.Sync); n != want+1 {
				t.Errorf("%v: %d syncs after closing, want %d", mode, n, want+1)
			}
		}
	}
}

// TestH17FailedSyncIsSticky: what was lost is not known, so no write and no
// flush succeeds ever after, though the kernel would say that all is well.
// Reads go on, and Stats say why.
func TestH17FailedSyncIsSticky(t *testing.T) {
	for _, mode := range []target.Mode{target.ModeSync, target.ModeFlush} {
		for _, prompt := range []float64{0, 1} {
			failing := false
			f := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{
				Prompt: prompt,
				Hook: func(c storetest.Call) error {
					if failing && c.Op == storetest.Sync {
						return syscall.EIO
					}
					return nil
				},
			})
			r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: f, Mode: mode})
			wantOK(t, r.ask(r.write(e11, 0, sectors(1, 1))))
			wantOK(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)))

			failing = true
			if mode == target.ModeSync {
				wantFail(t, r.ask(r.write(e11, 0, sectors(1, 2))), frame.ErrorABRT)
			} else {
				wantFail(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)), frame.ErrorABRT)
			}
			failing = false
			for _, f := range [][]byte{
				r.write(e11, 1, sectors(1, 3)), r.ata(e11, frame.OpWrite, 1, 1, sectors(1, 3)),
				r.ata(e11, frame.OpFlush, 0, 0, nil), r.ata(e11, frame.OpFlushExt, 0, 0, nil),
				r.trim(e11, frame.TrimRange{LBA: 1, Sectors: 1}),
			} {
				got := r.ask(f)
				wantFail(t, got, frame.ErrorABRT)
				if a, _ := ataOf(t, got); a.Status()&frame.StatusDF == 0 {
					t.Errorf("%v: status %#x, want a device fault", mode, a.Status())
				}
			}
			wantOK(t, r.ask(r.read(e11, 0, 1)))
			r.want = syscall.EIO // who closes the disk is told as well
			if st := r.stats(e11); st.Failed != syscall.EIO.Error() || st.SyncErrors != 1 {
				t.Errorf("%v: Failed is %q after %d failed syncs", mode, st.Failed, st.SyncErrors)
			}
			r.close()
		}
	}
}

// Writes that wait for a sync which fails all fail, and nobody waits for ever.
func TestH17FailedSyncFailsAllWhoWait(t *testing.T) {
	g := newGate(1<<20, func(c storetest.Call) bool { return c.Op == storetest.Sync })
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e21, Store: g})
	r.tap.in <- r.write(e21, 0, sectors(1, 1))
	<-g.entered
	for i := range 10 {
		r.tap.in <- r.write(e21, uint64(i+1), sectors(1, 2))
	}
	r.tap.in <- r.ata(e21, frame.OpFlush, 0, 0, nil)
	r.until("all wait", func() bool { return r.stats(e21).Unsynced == 11 })
	g.pass <- syscall.EIO
	r.want = syscall.EIO
	for range 12 {
		wantFail(t, r.next(r.tap), frame.ErrorABRT)
	}
	r.until("all buffers are back", func() bool { return r.stats(e21).Held == 0 })
}
