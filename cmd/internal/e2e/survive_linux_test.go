package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const blockSize = 4096

// A writer writes blocks to a device, one after the other and each
// acknowledged before the next, and knows what must be there. Block contents
// are made from the seed and a version, so that a lost, stale or misplaced
// write shows.
type writer struct {
	seed   uint64
	file   *os.File
	first  int64 // block of those that are written
	blocks int64
	rng    *rand.Rand
	last   map[int64]uint64 // block -> version of the last acknowledged write
	next   uint64
	block  []byte
}

func newWriter(t *testing.T, device string, seed uint64) *writer {
	t.Helper()
	// O_DIRECT: a write that returns was acknowledged by the target, not by
	// this machine's page cache.
	f, err := os.OpenFile(device, os.O_RDWR|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) // again, if the test did not come to close
	size, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if size < 16*blockSize {
		t.Fatalf("%s has only %d bytes", device, size)
	}
	t.Logf("writer's seed %d", seed)
	return &writer{
		seed:   seed,
		file:   f,
		blocks: size / blockSize,
		rng:    rand.New(rand.NewPCG(seed, 1)),
		last:   map[int64]uint64{},
		block:  alignedBlock(),
	}
}

// close lets go of the device, so that it can be detached.
func (w *writer) close(t *testing.T) {
	t.Helper()
	if err := w.file.Close(); err != nil {
		t.Error(err)
	}
}

// alignedBlock is a block that O_DIRECT takes.
func alignedBlock() []byte {
	b := make([]byte, 2*blockSize)
	off := int(-uintptr(unsafe.Pointer(&b[0])) & (blockSize - 1))
	return b[off : off+blockSize : off+blockSize]
}

// fill makes the content of one version of one block.
func (w *writer) fill(b []byte, block int64, version uint64) {
	r := rand.NewPCG(w.seed^uint64(block), version)
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
}

// writeOne writes one random block and waits for the acknowledgement. A quarter
// of the device is used, so that blocks are overwritten.
func (w *writer) writeOne() error {
	block := w.first + w.rng.Int64N(w.blocks/4)
	w.next++
	w.fill(w.block, block, w.next)
	if _, err := w.file.WriteAt(w.block, block*blockSize); err != nil {
		return fmt.Errorf("write of block %d: %w", block, err)
	}
	w.last[block] = w.next
	return nil
}

func (w *writer) write(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := w.writeOne(); err != nil {
			t.Fatal(err)
		}
	}
}

// verify reads every block that was written from path, which is the device or
// the image behind it.
func (w *writer) verify(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		// tmpfs did not know O_DIRECT for a long time.
		f, err = os.Open(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(w.last) == 0 {
		t.Fatal("nothing was written: nothing can be verified")
	}
	want := make([]byte, blockSize)
	for block, version := range w.last {
		w.fill(want, block, version)
		if _, err := f.ReadAt(w.block, block*blockSize); err != nil {
			t.Fatalf("read of block %d: %v", block, err)
		}
		if !bytes.Equal(w.block, want) {
			t.Fatalf("block %d of %s is not what was last acknowledged (version %d, seed %d)", block, path, version, w.seed)
		}
	}
}

// inBackground writes until stop is called, which returns how many writes were
// acknowledged while it ran.
func (w *writer) inBackground(t *testing.T) (stop func() int) {
	quit, done := make(chan struct{}), make(chan int)
	go func() { // ends when stop is called
		n := 0
		for {
			select {
			case <-quit:
				done <- n
				return
			default:
			}
			if err := w.writeOne(); err != nil {
				t.Error(err)
				<-quit
				done <- n
				return
			}
			n++
		}
	}()
	return func() int { close(quit); return <-done }
}

// TestTargetKilledWhileWriting: kill -9 in the middle of writes, and a restart:
// the initiator carries on, and every acknowledged write is there.
func TestTargetKilledWhileWriting(t *testing.T) {
	b := newBed(t, 9000)
	image := b.image(t, 64<<20)
	server := b.serve(t, image)
	daemon, device := b.attach(t)
	w := newWriter(t, device, 3)
	for range choose(10, 2) {
		stop := w.inBackground(t)
		waitWrites(t, image)
		server.kill(t)
		server = b.serve(t, image)
		waitWrites(t, image)
		if n := stop(); n == 0 {
			t.Error("no write was acknowledged around the restart")
		}
	}
	w.verify(t, device)
	w.close(t)
	daemon.stop(t)
	server.stop(t)
	w.verify(t, image)
}

// waitWrites waits until the image has been written to since the call.
func waitWrites(t *testing.T, image string) {
	t.Helper()
	since, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx := within(t, patience)
	for {
		now, err := os.Stat(image)
		if err != nil {
			t.Fatal(err)
		}
		if now.ModTime().After(since.ModTime()) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no write reached the image in %v", patience)
		}
	}
}

// TestH19CableOutWhileWriting: the cable is pulled and comes back. Nothing fails,
// nothing is lost, on neither side.
func TestH19CableOutWhileWriting(t *testing.T) {
	b := newBed(t, 9000)
	image := b.image(t, 64<<20)
	server := b.serve(t, image)
	daemon, device := b.attach(t)
	w := newWriter(t, device, 4)
	stop := w.inBackground(t)
	waitWrites(t, image)
	if err := b.initiator.SetUp(false); err != nil {
		t.Fatal(err)
	}
	// The outage itself is a length of time: nothing to wait for.
	outage := time.NewTimer(choose(10*time.Second, 500*time.Millisecond))
	<-outage.C
	if err := b.initiator.SetUp(true); err != nil {
		t.Fatal(err)
	}
	waitWrites(t, image)
	if n := stop(); n == 0 {
		t.Error("no write was acknowledged around the outage")
	}
	w.verify(t, device)
	w.close(t)
	daemon.stop(t)
	server.stop(t)
	w.verify(t, image)
}
