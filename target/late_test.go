package target_test

import (
	"bytes"
	"syscall"
	"testing"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// TestH1LateCopyOfAWriteIsNotCarriedOut: a copy of a write arrives when the write
// was answered long ago and another to the same sectors too. It is answered, and
// undoes nothing; that holds for stores that wait and those that do not, for
// trims, and when the copy takes another way in.
func TestH1LateCopyOfAWriteIsNotCarriedOut(t *testing.T) {
	for _, row := range []struct {
		name string
		st   store.Store
	}{
		{"prompt store", store.Memory(1 << 20)},
		{"store that waits", newGate(1<<20, func(storetest.Call) bool { return false }).Fault},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := serve(t, target.Config{}, 2, target.Disk{Addr: e11, Store: row.st})
			w1 := r.write(e11, 8, sectors(8, 1))
			w2 := r.write(e11, 12, sectors(8, 2))
			trim := r.trim(e11, frame.TrimRange{LBA: 100, Sectors: 8})
			w3 := r.write(e11, 100, sectors(8, 3))
			for _, f := range [][]byte{w1, w2, trim, w3} {
				wantOK(t, r.ask(bytes.Clone(f)))
			}
			before := r.stats(e11)
			wantOK(t, r.ask(bytes.Clone(w1)))
			wantOK(t, r.ask(bytes.Clone(trim)))
			other := to(r.taps[1].State().MAC, bytes.Clone(w1))
			r.taps[1].in <- other
			wantOK(t, r.answer(r.taps[1], other))

			after := r.stats(e11)
			if n := after.LateCopies - before.LateCopies; n != 3 {
				t.Errorf("%d late copies counted, want 3", n)
			}
			if after.Writes != before.Writes || after.Trims != before.Trims {
				t.Errorf("a late copy was carried out: %d writes and %d trims more",
					after.Writes-before.Writes, after.Trims-before.Trims)
			}
			wantData(t, r.ask(r.read(e11, 8, 12)), append(sectors(4, 1), sectors(8, 2)...))
			wantData(t, r.ask(r.read(e11, 100, 8)), sectors(8, 3))
		})
	}
}

// TestH1LateCopyOfAWriteThatFailed: whoever was told that it failed has written
// something else meanwhile, or has given up: it is not carried out either, though
// the disk could now, and the answer is the same.
func TestH1LateCopyOfAWriteThatFailed(t *testing.T) {
	failing := true
	f := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{Hook: func(c storetest.Call) error {
		if failing && c.Op == storetest.Write {
			return syscall.ENOSPC
		}
		return nil
	}})
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: f})
	w1 := r.write(e11, 8, sectors(8, 1))
	wantFail(t, r.ask(bytes.Clone(w1)), frame.ErrorABRT)
	failing = false
	wantOK(t, r.ask(r.write(e11, 8, sectors(8, 2))))
	wantFail(t, r.ask(bytes.Clone(w1)), frame.ErrorABRT)
	wantData(t, r.ask(r.read(e11, 8, 8)), sectors(8, 2))
}

// Without the memory the late copy does undo the later write: the test above can
// fail.
func TestH1LateCopyHarmsWithoutMemory(t *testing.T) {
	r := serve(t, target.Config{RecentWrites: -1}, 1, disk(e11, 1000))
	w1 := r.write(e11, 8, sectors(8, 1))
	wantOK(t, r.ask(bytes.Clone(w1)))
	wantOK(t, r.ask(r.write(e11, 8, sectors(8, 2))))
	wantOK(t, r.ask(bytes.Clone(w1)))
	wantData(t, r.ask(r.read(e11, 8, 8)), sectors(8, 1))
}
