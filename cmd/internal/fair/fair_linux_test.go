package main

import (
	"os"
	"testing"
	"time"

	"aoe/cmd/internal/bench"
)

// TestEveryInitiatorGetsSomething: no judgement of how fair that is, which a busy
// machine spoils.
func TestEveryInitiatorGetsSomething(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and raw sockets")
	}
	b, err := newBed(t.Context(), config{
		initiators: 3, disks: 3, each: 2, depth: 2, blockSize: 4096, sizeBytes: 1 << 20, pattern: bench.RandWrite,
		time: 300 * time.Millisecond, dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.run(t.Context())
	if err != nil {
		t.Error(err)
	}
	for i, n := range got {
		if n == 0 {
			t.Errorf("initiator %d of %v got nothing", i+1, got)
		}
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}
