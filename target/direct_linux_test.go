package target_test

import (
	"strings"
	"testing"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// TestH17DirectIsSynced: in direct mode, too, a write is answered after a sync;
// and the buffers that frames arrive in are aligned as the device wants them, so
// that nothing is copied.
func TestH17DirectIsSynced(t *testing.T) {
	st, err := store.Open(store.Config{Path: image(t, 1<<20), Direct: true})
	if err != nil && strings.Contains(err.Error(), "no direct I/O") {
		t.Skipf("needs a file system with direct I/O, ext4 or xfs: set TMPDIR to a directory on one: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	counted := storetest.NewFault(st, storetest.FaultConfig{})
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: counted, Mode: target.ModeDirect})
	for n := 1; n <= 17; n++ {
		wantOK(t, r.ask(r.write(e11, uint64(n), sectors(n, byte(n)))))
		wantData(t, r.ask(r.read(e11, uint64(n), uint8(n))), sectors(n, byte(n)))
		if got := counted.Calls(storetest.Sync); got != n {
			t.Errorf("%d syncs after %d writes", got, n)
		}
	}
	wantOK(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)))
	if n := st.(store.Bouncer).Bounced(); n != 0 {
		t.Errorf("%d reads and writes were copied, want none", n)
	}
	id, err := frame.ParseIdentify(wantOK(t, r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil))))
	if err != nil || id.WriteCache {
		t.Errorf("IDENTIFY claims a write cache in direct mode (%v)", err)
	}
}
