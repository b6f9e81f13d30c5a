package initiator

import (
	"sync/atomic"
	"testing"
)

// TestOnThread: called once, before the disk is used.
func TestOnThread(t *testing.T) {
	var calls atomic.Int32
	b := newBed(t, bedConfig{disk: Config{OnThread: func() { calls.Add(1) }}})
	if _, err := b.disk.ReadAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("called %d times before the first request was answered, want once", n)
	}
}
