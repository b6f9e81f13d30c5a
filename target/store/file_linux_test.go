package store_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// tmpfs is a directory that is in memory, where there is one.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "aoe-store-")
	if err != nil {
		t.Skipf("needs a tmpfs at /dev/shm: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestTmpfsConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		s := open(t, store.Config{Path: image(t, tmpfs(t), size)})
		if !s.Info().Volatile {
			t.Error("a file on tmpfs does not say that it is volatile")
		}
		return s
	})
}

// loop makes a block device of size bytes, with the options of losetup.
func loop(t *testing.T, size int64, options ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs loop devices: run as root")
	}
	p := image(t, t.TempDir(), size)
	out, err := exec.Command("losetup", append(options, "--find", "--show", p)...).CombinedOutput()
	if err != nil {
		t.Skipf("needs a free loop device (modprobe loop): %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

func TestBlockDeviceConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		return open(t, store.Config{Path: loop(t, size)})
	})
}

func TestBlockDeviceWindowConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T, size int64) store.Store {
		return open(t, store.Config{Path: loop(t, size+8192), Offset: 4096, Length: size})
	})
}

// A block device that is served for writing is refused to others, and said so.
func TestBlockDeviceIsServedOnce(t *testing.T) {
	dev := loop(t, 1<<20)
	s := open(t, store.Config{Path: dev})
	_, err := store.Open(store.Config{Path: dev})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "unmount it") {
		t.Errorf("opened twice: %v, want ErrLocked and what to do", err)
	}
	s.Close()
	open(t, store.Config{Path: dev})
}

func TestFileIsServedOnce(t *testing.T) {
	p := image(t, t.TempDir(), 1<<20)
	for _, row := range []struct {
		name          string
		first, second store.Config
		locked        bool
	}{
		{"written by both", store.Config{}, store.Config{}, true},
		{"read by the second", store.Config{}, store.Config{ReadOnly: true}, true},
		{"read by the first", store.Config{ReadOnly: true}, store.Config{}, true},
		{"read by both", store.Config{ReadOnly: true}, store.Config{ReadOnly: true}, false},
		{"overlapping windows", store.Config{Length: 8192}, store.Config{Offset: 4096}, true},
		{"windows side by side", store.Config{Length: 8192}, store.Config{Offset: 8192}, false},
	} {
		row.first.Path, row.second.Path = p, p
		a, err := store.Open(row.first)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		b, err := store.Open(row.second)
		if got := errors.Is(err, store.ErrLocked); got != row.locked {
			t.Errorf("%s: locked %v (%v), want %v", row.name, got, err, row.locked)
		}
		if err == nil {
			b.Close()
		}
		a.Close()
		if c, err := store.Open(row.second); err != nil {
			t.Errorf("%s: after the first was closed: %v", row.name, err)
		} else {
			c.Close()
		}
	}
}

// TestH15IdentityFollowsTheFile: two names of one file agree, a copy differs,
// and so do two windows; growing changes nothing.
func TestH15IdentityFollowsTheFile(t *testing.T) {
	dir := t.TempDir()
	p := image(t, dir, 1<<20)
	hard, soft := filepath.Join(dir, "hard"), filepath.Join(dir, "soft")
	if err := os.Link(p, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(p, soft); err != nil {
		t.Fatal(err)
	}
	other := image(t, t.TempDir(), 1<<20)
	identity := func(cfg store.Config) string {
		s, err := store.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Info().Identity
	}
	id := identity(store.Config{Path: p})
	if id == "" {
		t.Fatal("a regular file has no identity")
	}
	for _, name := range []string{hard, soft} {
		if got := identity(store.Config{Path: name}); got != id {
			t.Errorf("%s is %q, %s is %q: one file, two identities", p, id, name, got)
		}
	}
	if got := identity(store.Config{Path: other}); got == id {
		t.Errorf("two files have the identity %q", got)
	}
	if got := identity(store.Config{Path: p, Offset: 512}); got == id {
		t.Error("a window has the identity of the whole file")
	}
	os.Truncate(p, 2<<20)
	if got := identity(store.Config{Path: p}); got != id {
		t.Errorf("growing changed the identity from %q to %q", id, got)
	}
	os.Remove(hard)
	os.Remove(p)
	p = image(t, dir, 1<<20)
	if got := identity(store.Config{Path: p}); got == id {
		t.Error("a new file in the place of an old one has its identity")
	}
}

// Trim gives space back to the file system and leaves the size alone.
func TestTrimPunchesHoles(t *testing.T) {
	p := image(t, t.TempDir(), 1<<20)
	s := open(t, store.Config{Path: p})
	if !s.Info().Trim {
		t.Fatal("a regular file says it cannot trim")
	}
	s.WriteAt(make([]byte, 1<<20), 0)
	s.Sync()
	before := blocks(t, p)
	if err := s.Trim(0, 1<<19); err != nil {
		t.Fatal(err)
	}
	if !s.Info().Trim {
		t.Skip("needs a file system that punches holes: ext4, xfs, btrfs, tmpfs")
	}
	if after := blocks(t, p); after > before/2+16 {
		t.Errorf("%d blocks before and %d after half was trimmed", before, after)
	}
	if st, _ := os.Stat(p); st.Size() != 1<<20 {
		t.Errorf("the file has %d bytes after trim, want %d", st.Size(), 1<<20)
	}
}

func blocks(t *testing.T, p string) int64 {
	st, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks
}

// A read that would have to wait for the disk says so, and the same read is
// prompt when the data is in the page cache.
func TestReadNowKnowsTheCache(t *testing.T) {
	p := image(t, t.TempDir(), 1<<20)
	s := open(t, store.Config{Path: p})
	if s.Info().Volatile {
		t.Skip("needs a file system on a disk: set TMPDIR to a directory on one")
	}
	full := make([]byte, 1<<20)
	for i := range full {
		full[i] = 1
	}
	s.WriteAt(full, 0)
	s.Sync()
	q := s.(store.Prompt)
	buf := make([]byte, 4096)
	if err := q.ReadNow(buf, 0); errors.Is(err, store.ErrWouldBlock) {
		t.Skip("needs a file system with RWF_NOWAIT for buffered reads: ext4, xfs, btrfs")
	} else if err != nil || buf[0] != 1 {
		t.Errorf("a cached read: %v", err)
	}
	// The kernel begins to read ahead before it says that it would have to wait,
	// so that a fast disk can be there first: that is no wait.
	waits := 0
	for range 1000 {
		drop(t, p)
		if err := q.ReadNow(buf, 512<<10); errors.Is(err, store.ErrWouldBlock) {
			waits++
			break
		} else if err != nil || buf[0] != 1 {
			t.Fatalf("a read that need not wait: %v", err)
		}
	}
	if waits == 0 {
		t.Error("of 1000 reads of what is not in memory, none would have to wait")
	}
	if err := q.WriteNow(buf, 0); !errors.Is(err, store.ErrWouldBlock) {
		t.Errorf("a write on a disk: %v, want ErrWouldBlock", err)
	}
}

// drop takes the file's pages out of the page cache.
func drop(t *testing.T, p string) {
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Skipf("needs posix_fadvise: %v", err)
	}
}

// TestSizeAllocatesNothing: it is asked every second, for years.
func TestSizeAllocatesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if n := testing.AllocsPerRun(100, func() {
		if size, err := st.Size(); err != nil || size != 4096 {
			t.Errorf("%d bytes: %v", size, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestH17CacheOfADevice: a file, and a device, has its cache for as long as the
// device is there.
func TestH17CacheOfADevice(t *testing.T) {
	cache := func(cfg store.Config) string {
		s, err := store.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Info().Cache
	}
	p := image(t, t.TempDir(), 1<<20)
	if a, b := cache(store.Config{Path: p}), cache(store.Config{Path: p, ReadOnly: true}); a == "" || a != b {
		t.Errorf("a file is in %q, and then in %q", a, b)
	}
	dev := loop(t, 1<<20)
	before := cache(store.Config{Path: dev})
	if again := cache(store.Config{Path: dev}); before == "" || again != before {
		t.Errorf("a device is in %q, and then in %q", before, again)
	}
	if strings.HasSuffix(before, " disk ") {
		t.Skip("needs /sys/block/*/diskseq: Linux 5.15")
	}
	if other := cache(store.Config{Path: loop(t, 1<<20)}); other == before {
		t.Errorf("another device is in %q, too", other)
	}
}

// TestReadingLeavesTheAccessTime, where a file system keeps one at all.
func TestReadingLeavesTheAccessTime(t *testing.T) {
	p := image(t, t.TempDir(), 1<<20)
	long := time.Unix(1, 0)
	accessed := func() time.Time {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			t.Fatal(err)
		}
		return time.Unix(st.Atim.Unix())
	}
	reset := func() {
		t.Helper()
		if err := os.Chtimes(p, long, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	reset()
	if _, err := os.ReadFile(p); err != nil {
		t.Fatal(err)
	}
	if accessed().Equal(long) {
		t.Skip("needs a file system that is not mounted with noatime")
	}
	reset()
	s := open(t, store.Config{Path: p})
	if _, err := s.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if at := accessed(); !at.Equal(long) {
		t.Errorf("read at %v", at)
	}
}
