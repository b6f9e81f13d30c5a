package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestServeMemory: a disk that is nothing but memory.
func TestServeMemory(t *testing.T) {
	b := newBed(t, 9000)
	server := b.serve(t, "mem:16M")
	daemon, device := b.attach(t)
	w := newWriter(t, device, 1)
	w.write(t, 50)
	w.verify(t, device)
	w.close(t)
	daemon.stop(t)
	server.stop(t)
}

// TestServeSnapshot: what is written over a snapshot is read back, kept if there
// is a file for it, and never in the base.
func TestServeSnapshot(t *testing.T) {
	b := newBed(t, 9000)
	image := b.image(t, 16<<20)
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	changes := filepath.Join(b.dir, "changes")
	for _, row := range []struct {
		flags []string
		kept  bool
	}{
		{[]string{"--snapshot"}, false},
		{[]string{"--snapshot-file", changes}, true},
	} {
		server := b.serve(t, image, row.flags...)
		daemon, device := b.attach(t)
		w := newWriter(t, device, 1)
		w.write(t, 50)
		w.verify(t, device)
		w.close(t)
		daemon.stop(t)
		server.stop(t)

		server = b.serve(t, image, row.flags...)
		daemon, device = b.attach(t)
		if row.kept {
			w.verify(t, device)
		} else if now, err := os.ReadFile(device); err != nil || !bytes.Equal(now, before) {
			t.Errorf("a new snapshot is not the base (%v)", err)
		}
		daemon.stop(t)
		server.stop(t)
	}
	if after, err := os.ReadFile(image); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the base was written (%v)", err)
	}
}
