package store_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// openDirect opens past the page cache, or skips where that is not possible.
func openDirect(t *testing.T, cfg store.Config) store.Store {
	t.Helper()
	cfg.Direct = true
	s, err := store.Open(cfg)
	if err != nil && strings.Contains(err.Error(), "no direct I/O") {
		t.Skipf("needs a file system with direct I/O, ext4 or xfs: set TMPDIR to a directory on one: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if !s.Info().Direct {
		t.Error("Info does not say that it is direct")
	}
	return s
}

func TestDirectFileConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		return openDirect(t, store.Config{Path: image(t, t.TempDir(), size)})
	})
}

func TestDirectWindowConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		return openDirect(t, store.Config{Path: image(t, t.TempDir(), size+64<<10), Offset: 8192, Length: size})
	})
}

func TestDirectBlockDeviceConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		return openDirect(t, store.Config{Path: loop(t, size)})
	})
}

// A device whose blocks are eight sectors: what is less is read, changed and
// written.
func TestDirectLargeBlocksConform(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		s := openDirect(t, store.Config{Path: loop(t, size, "--sector-size", "4096")})
		if p := s.Info().PhysicalBlock; p < 4096 {
			t.Errorf("PhysicalBlock is %d: want that of the device, 4096", p)
		}
		return s
	})
}

// Each writes a sector of its own, and nobody undoes another's when all of them
// are in one block.
func TestDirectPartsOfABlockAreKeptApart(t *testing.T) {
	s := openDirect(t, store.Config{Path: loop(t, 64<<10, "--sector-size", "4096")})
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			for round := range byte(50) {
				want := bytes.Repeat([]byte{byte(i)<<6 ^ round}, store.SectorSize)
				got := make([]byte, store.SectorSize)
				if _, err := s.WriteAt(want, i*store.SectorSize); err != nil {
					t.Error(err)
				}
				if i == 7 { // a whole block beside it
					if _, err := s.WriteAt(make([]byte, 4096), 4096); err != nil {
						t.Error(err)
					}
				}
				if _, err := s.ReadAt(got, i*store.SectorSize); err != nil || !bytes.Equal(got, want) {
					t.Errorf("sector %d, round %d: somebody else's write was undone, or this one (%v)", i, round, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// aligned is n bytes whose address is a multiple of 4096, but for off.
func aligned(n, off int) []byte {
	b := make([]byte, n+off+4096)
	skip := (4096 - int(uintptr(unsafe.Pointer(&b[0]))%4096)) % 4096
	return b[skip+off:][:n]
}

// What is not aligned as the device wants it is copied and counted, and arrives
// the same.
func TestDirectCountsCopies(t *testing.T) {
	s := openDirect(t, store.Config{Path: image(t, t.TempDir(), 1<<20)})
	bounced := s.(store.Bouncer).Bounced
	for _, row := range []struct {
		name   string
		off    int // of the memory
		copies uint64
	}{{"aligned", 0, 0}, {"as the target has it", 2048, 0}, {"not", 1, 2}} {
		before := bounced()
		want, got := aligned(8192, row.off), aligned(8192, row.off)
		for i := range want {
			want[i] = byte(i / 7)
		}
		if _, err := s.WriteAt(want, 4096); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadAt(got, 4096); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: read something else than was written (%v)", row.name, err)
		}
		if n := bounced() - before; n != row.copies {
			t.Errorf("%s: %d copies, want %d", row.name, n, row.copies)
		}
	}
}

// Nothing of it stays in the page cache.
func TestDirectLeavesThePageCacheAlone(t *testing.T) {
	p := image(t, t.TempDir(), 1<<20)
	s := openDirect(t, store.Config{Path: p})
	if s.Info().Volatile {
		t.Skip("needs a file system on a disk: set TMPDIR to a directory on one")
	}
	b := aligned(1<<20, 0)
	if _, err := s.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cs unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &cs, 0); err != nil {
		t.Skipf("needs cachestat(2), Linux 6.5: %v", err)
	}
	if cs.Cache != 0 {
		t.Errorf("%d pages of the file are in the page cache, want none", cs.Cache)
	}
}

// A file system without direct I/O is refused with what to do, and so is a
// window that is not made of whole blocks. Neither keeps the file locked.
func TestDirectIsRefusedWhereItCannotBe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs to mount a ramfs: run as root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ramfs", "aoe-test", dir).CombinedOutput(); err != nil {
		t.Skipf("needs ramfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dev := loop(t, 64<<10, "--sector-size", "4096")
	for _, row := range []struct {
		name string
		cfg  store.Config
		want string
	}{
		{"no direct I/O", store.Config{Path: image(t, dir, 1<<20)}, "use sync or flush mode"},
		{"begins within a block", store.Config{Path: dev, Offset: 512}, "not whole blocks"},
		{"ends within a block", store.Config{Path: dev, Length: 512}, "not whole blocks"},
	} {
		row.cfg.Direct = true
		if _, err := store.Open(row.cfg); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		row.cfg.Direct = false
		open(t, row.cfg).Close()
	}
}

// TestH16DirectFileThatShrinksOrGrows: a part of a block is not served, and what
// is gone cannot be read.
func TestH16DirectFileThatShrinksOrGrows(t *testing.T) {
	p := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(p, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openDirect(t, store.Config{Path: p})
	if err := os.Truncate(p, 32<<10+100); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int{0, 1} {
		if n, err := s.ReadAt(aligned(8192, off), 40<<10); err == nil {
			t.Errorf("%d bytes were read behind the end", n)
		}
	}
	if n, err := s.Size(); err != nil || n != 32<<10 {
		t.Errorf("size %d, %v: want the whole blocks that are left, %d", n, err, 32<<10)
	}
	if err := os.Truncate(p, 128<<10); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Size(); err != nil || n != 128<<10 {
		t.Errorf("size %d, %v: want %d", n, err, 128<<10)
	}
}
