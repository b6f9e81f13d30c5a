package attach_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// needsLoop skips the test where a block device cannot be made, and fails it
// if it leaves something behind.
func needsLoop(t testing.TB) {
	t.Helper()
	for _, w := range attach.Ways() {
		if w.Name == "fuse" && !w.Available {
			t.Skip(w.Reason)
		}
	}
	before := leftovers(t)
	t.Cleanup(func() {
		if after := leftovers(t); after != before {
			t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
		}
	})
}

// leftovers are the mounts and loop devices of these tests: other packages'
// tests make their own at the same time.
func leftovers(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/TestFUSE") || strings.Contains(line, "/BenchmarkFio") {
			found = append(found, line)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		file, _ := os.ReadFile(l)
		if strings.Contains(string(file), "/TestFUSE") || strings.Contains(string(file), "/BenchmarkFio") || string(file) == "/disk\n" {
			found = append(found, fmt.Sprintf("%s: %s", l, file))
		}
	}
	return strings.Join(found, "")
}

// attachFUSE attaches disk in a directory of the test's own, and detaches it in
// the end whatever happens.
func attachFUSE(t testing.TB, cfg attach.FUSEConfig) *attach.Device {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "e1.1")
	}
	d, err := attach.FUSE(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// A test that hangs hangs in the kernel, waiting for this very process: not
	// even killing it would help.
	watchdog := time.AfterFunc(2*time.Minute, func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		d.Abandon(ctx)
	})
	t.Cleanup(func() {
		defer watchdog.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := d.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
			if err := d.Abandon(ctx); err != nil {
				t.Errorf("Abandon: %v", err)
			}
		}
	})
	return d
}

// discarding is a disk like those that our target serves.
var discarding = attach.Info{Name: "e1.1", MaxRequest: 128 << 10, Trim: true, TrimZeroes: true, WriteCache: true}

// openDevice opens a device around the page cache.
func openDevice(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// aligned is memory that direct I/O takes.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	off := int(-uintptr(unsafe.Pointer(&b[0])) & 4095)
	return b[off : off+n]
}

// TestFUSEIsABlockDevice: reads, writes and flushes through a loop device
// reach the disk, and what other programs see of the device is the truth.
func TestFUSEIsABlockDevice(t *testing.T) {
	needsLoop(t)
	for _, block := range []int{512, 4096} {
		t.Run(fmt.Sprintf("block size %d", block), func(t *testing.T) {
			noLeaks(t)
			info := discarding
			info.BlockSize = block
			disk := newDisk(t, attachtest.Config{Size: 16<<20 + 512, Info: info, Poison: true, Shuffle: true})
			dir := filepath.Join(t.TempDir(), "e1.1")
			d := attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir})

			st, err := os.Stat(dir)
			if err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("the directory has mode %v (%v), want 0700", st.Mode(), err)
			}
			name := filepath.Base(d.Path)
			for file, want := range map[string]string{
				"loop/dio":                  "1",
				"loop/autoclear":            "1",
				"queue/logical_block_size":  fmt.Sprint(block),
				"queue/discard_granularity": "4096",
				"size":                      fmt.Sprint(16<<20/512 + 1),
				"ro":                        "0",
			} {
				got, err := os.ReadFile(filepath.Join("/sys/block", name, file))
				if strings.TrimSpace(string(got)) != want {
					t.Errorf("%s is %q (%v), want %s", file, got, err, want)
				}
			}

			f := openDevice(t, d.Path, os.O_RDWR)
			data := aligned(1 << 20) // longer than one request
			copy(data, pattern(3, len(data)))
			if _, err := f.WriteAt(data, 4<<20); err != nil {
				t.Fatal(err)
			}
			if got := disk.Content()[4<<20:][:len(data)]; !bytes.Equal(got, data) {
				t.Error("the disk has other data than was written")
			}
			got := aligned(len(data))
			if _, err := f.ReadAt(got, 4<<20); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read other data than was written (%v)", err)
			}
			before := disk.Completed(attach.Flush)
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			if n := disk.Completed(attach.Flush) - before; n != 1 {
				t.Errorf("fsync of the device: %d flushes of the disk, want 1", n)
			}
			f.Close()

			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			if err := d.Close(ctx); err != nil {
				t.Errorf("Close: %v", err)
			}
			if err := d.Wait(ctx); err != nil {
				t.Errorf("Wait after Close: %v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory is still there (%v)", err)
			}
		})
	}
}

// TestFUSEDiscards: a discard of the device trims the disk, and zeroing it
// leaves zeros; a disk that would not read zeros afterwards is not trimmed.
func TestFUSEDiscards(t *testing.T) {
	needsLoop(t)
	plain := discarding
	plain.TrimZeroes = false
	for _, row := range []struct {
		name    string
		info    attach.Info
		trimmed uint64
	}{
		{"a disk that reads zeros where it was trimmed", discarding, 2 << 20},
		{"a disk that reads anything there", plain, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			noLeaks(t)
			disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: row.info, Poison: true})
			d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
			f := openDevice(t, d.Path, os.O_RDWR)
			data := aligned(8 << 20)
			for i := range data {
				data[i] = 0xff
			}
			if _, err := f.WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
			err := blockRange(f, unix.BLKDISCARD, 0, 1<<20)
			if err != nil { // a device that cannot discard ignores it
				t.Errorf("BLKDISCARD: %v", err)
			}
			// fallocate with a hole is a request to write zeros, by any means.
			if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 2<<20, 1<<20); err != nil && row.trimmed > 0 {
				t.Errorf("fallocate, hole: %v", err)
			}
			if err := blockRange(f, unix.BLKZEROOUT, 4<<20, 1<<20); err != nil {
				t.Errorf("BLKZEROOUT: %v", err)
			}
			if n := disk.Moved(attach.Trim); n < row.trimmed || row.trimmed == 0 && n > 0 {
				t.Errorf("%d bytes trimmed, want %d", n, row.trimmed)
			}
			content := disk.Content()
			zeros := make([]byte, 1<<20)
			if row.trimmed > 0 && !bytes.Equal(content[:1<<20], zeros) {
				t.Error("the discarded range is not zeros")
			}
			if !bytes.Equal(content[4<<20:5<<20], zeros) {
				t.Error("the zeroed range is not zeros")
			}
			if !bytes.Equal(content[5<<20:8<<20], data[5<<20:]) {
				t.Error("what was not zeroed has changed")
			}
		})
	}
}

// blockRange does one of the ioctls of linux/fs.h that take a range.
func blockRange(f *os.File, request uint, offset, length uint64) error {
	arg := [2]uint64{offset, length}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}

// TestFUSEManyInFlight: asynchronous direct I/O is on: what a program submits
// at once is in flight at once.
func TestFUSEManyInFlight(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 64 << 20, Info: discarding})
	d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
	disk.Hold()
	t.Cleanup(disk.Resume)
	// One read, in pieces of what the disk admits, is enough.
	const depth = 16
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			done <- err
			return
		}
		defer f.Close()
		_, err = f.ReadAt(aligned(depth*(128<<10)), 0)
		done <- err
	}()
	reached := disk.WaitInFlight(depth, testTimeout)
	disk.Resume()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !reached {
		t.Errorf("%d requests in flight at once, want %d", disk.Peak(), depth)
	}
}

// TestFUSEFileSystem is what all this is for: make a file system, copy files
// into it, unmount, attach again, and find them all.
func TestFUSEFileSystem(t *testing.T) {
	needsLoop(t)
	program(t, "mkfs.ext4", "e2fsprogs")
	program(t, "fstrim", "util-linux")
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 64 << 20, Info: discarding, Poison: true, Shuffle: true})
	dir, point := filepath.Join(t.TempDir(), "e1.1"), t.TempDir()

	d := attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir})
	run(t, "mkfs.ext4", "-q", "-F", d.Path)
	mountAt(t, d.Path, point, "")
	want := map[string][32]byte{}
	for i := range 20 {
		name := fmt.Sprintf("file%d", i)
		data := pattern(uint64(i), (i+1)*37_501)
		if err := os.WriteFile(filepath.Join(point, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		want[name] = sha256.Sum256(data)
	}
	flushes := disk.Completed(attach.Flush)
	syncFS(t, point)
	if disk.Completed(attach.Flush) == flushes {
		t.Error("syncing the file system did not flush the disk")
	}
	trims := disk.Completed(attach.Trim)
	run(t, "fstrim", point)
	if disk.Completed(attach.Trim) == trims {
		t.Error("fstrim did not trim the disk")
	}
	unmount(t, point)
	run(t, "fsck.ext4", "-fn", d.Path)
	closeDevice(t, d)

	d = attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir, ReadOnly: true})
	if f, err := os.OpenFile(d.Path, os.O_WRONLY, 0); err == nil {
		_, err = f.Write(make([]byte, 512))
		f.Close()
		if err == nil {
			t.Error("a read-only device can be written")
		}
	}
	mountAt(t, d.Path, point, "ro")
	for name, digest := range want {
		data, err := os.ReadFile(filepath.Join(point, name))
		if err != nil || sha256.Sum256(data) != digest {
			t.Errorf("%s is not what was copied (%v)", name, err)
		}
	}
	unmount(t, point)
}

// mountAt mounts a device, and unmounts it when the test fails to.
func mountAt(t *testing.T, device, point, options string) {
	t.Helper()
	flags := uintptr(0)
	if options == "ro" {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount(device, point, "ext4", flags, ""); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
}

func unmount(t *testing.T, point string) {
	t.Helper()
	if err := unix.Unmount(point, 0); err != nil {
		t.Fatalf("unmount: %v", err)
	}
}

func syncFS(t *testing.T, point string) {
	t.Helper()
	f, err := os.Open(point)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Error(err)
	}
}

func closeDevice(t *testing.T, d *attach.Device) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// TestFUSEDetachRefused: a device in use is not detached, the error says by
// whom, and everything goes on as before.
func TestFUSEDetachRefused(t *testing.T) {
	needsLoop(t)
	program(t, "mkfs.ext4", "e2fsprogs")
	program(t, "mkswap", "util-linux")
	rows := []struct {
		name string
		use  func(t *testing.T, device, point string) (end func())
		want string
	}{
		{"mounted", func(t *testing.T, device, point string) func() {
			run(t, "mkfs.ext4", "-q", "-F", device)
			mountAt(t, device, point, "")
			return func() { unmount(t, point) }
		}, "mounted on "},
		{"swap", func(t *testing.T, device, _ string) func() {
			run(t, "mkswap", device)
			if out, err := exec.Command("swapon", device).CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with swap: %v: %s", err, out)
			}
			t.Cleanup(func() { exec.Command("swapoff", device).Run() })
			return func() { run(t, "swapoff", device) }
		}, "used as swap"},
		{"claimed", func(t *testing.T, device, _ string) func() {
			f, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}, "by whom is not known"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			noLeaks(t)
			disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding})
			d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
			point := filepath.Join(t.TempDir(), "a point") // a space, which mountinfo escapes
			if err := os.Mkdir(point, 0o700); err != nil {
				t.Fatal(err)
			}
			end := row.use(t, d.Path, point)
			err := d.Close(t.Context())
			var inUse *attach.InUseError
			if !errors.As(err, &inUse) || !errors.Is(err, attach.ErrInUse) {
				t.Fatalf("Close: %v, want an InUseError", err)
			}
			if inUse.Device != d.Path || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the error does not say %q: %v", row.want, err)
			}
			if row.name == "mounted" && !strings.Contains(err.Error(), point) {
				t.Errorf("the error does not name %s: %v", point, err)
			}
			f := openDevice(t, d.Path, os.O_RDONLY)
			if _, err := f.ReadAt(aligned(4096), 0); err != nil {
				t.Errorf("the device is dead after a detach that was refused: %v", err)
			}
			f.Close()
			end()
			closeDevice(t, d)
		})
	}
}

// TestFUSEKilledReader: a process that is killed while it reads the file dies at
// once, though the disk does not answer, and what it asked for is given back
// when the disk does.
func TestFUSEKilledReader(t *testing.T) {
	needsLoop(t)
	program(t, "dd", "coreutils")
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding, Poison: true})
	dir := filepath.Join(t.TempDir(), "e1.1")
	d := attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir})
	disk.Hold()
	t.Cleanup(disk.Resume)
	dd := exec.Command("dd", "if="+filepath.Join(dir, "mnt", "disk"), "of=/dev/null", "bs=64k", "count=1")
	if err := dd.Start(); err != nil {
		t.Fatal(err)
	}
	if !disk.WaitInFlight(1, testTimeout) {
		t.Error("not in flight")
	}
	dd.Process.Kill()
	if err := dd.Wait(); err == nil {
		t.Error("dd ended well")
	}
	if !eventually(func() bool { return d.Stats().Errors == 1 }) {
		t.Errorf("%+v", d.Stats())
	}
	if disk.Admitted() != 1 {
		t.Errorf("%d requests held, want the one that the disk still has", disk.Admitted())
	}
	disk.Resume()
	if !eventually(func() bool { return disk.Admitted() == 0 }) {
		t.Error("the request is not given back")
	}
}

// TestFUSEErrors: what the disk cannot read or write is an I/O error of the
// device, once, and nothing else fails.
func TestFUSEErrors(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	var bad atomic.Bool
	disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding, Fault: func(op attach.Op) error {
		if bad.Load() && op.Offset == 1<<20 {
			return errors.New("bad sector")
		}
		return nil
	}})
	d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
	f := openDevice(t, d.Path, os.O_RDWR)
	bad.Store(true)
	if _, err := f.ReadAt(aligned(4096), 1<<20); !errors.Is(err, syscall.EIO) {
		t.Errorf("read of a bad sector: %v", err)
	}
	if _, err := f.WriteAt(aligned(4096), 1<<20); !errors.Is(err, syscall.EIO) {
		t.Errorf("write of a bad sector: %v", err)
	}
	if _, err := f.ReadAt(aligned(4096), 2<<20); err != nil {
		t.Errorf("read of a good sector: %v", err)
	}
	if s := d.Stats(); s.Errors != 2 {
		t.Errorf("%+v", s)
	}
}

// TestFUSEResize: the device grows with the disk, and does not shrink (H16).
func TestFUSEResize(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding})
	disk.Resize(8 << 20)
	d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
	f := openDevice(t, d.Path, os.O_RDWR)
	if _, err := f.WriteAt(aligned(4096), 8<<20); err == nil {
		t.Error("the device is larger than the disk")
	}
	disk.Resize(16 << 20)
	if err := d.Resize(); err != nil {
		t.Fatal(err)
	}
	if end, err := f.Seek(0, 2); end != 16<<20 {
		t.Errorf("the device has %d bytes (%v)", end, err)
	}
	if _, err := f.WriteAt(aligned(4096), 8<<20); err != nil {
		t.Errorf("write into what was added: %v", err)
	}
	disk.Resize(8 << 20)
	if err := d.Resize(); err == nil {
		t.Error("the device was made smaller")
	}
}

// TestFUSETwice: a second process cannot take over a directory that is served.
func TestFUSETwice(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding})
	dir := filepath.Join(t.TempDir(), "e1.1")
	d := attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir})
	if _, err := attach.FUSE(t.Context(), attach.FUSEConfig{Disk: disk, Dir: dir}); !errors.Is(err, attach.ErrAttached) {
		t.Errorf("%v, want ErrAttached", err)
	}
	if _, err := openDevice(t, d.Path, os.O_RDONLY).ReadAt(aligned(4096), 0); err != nil {
		t.Errorf("the first one suffered: %v", err)
	}
}

// TestFUSEAbandon: users of a device that is abandoned get errors, soon, and
// when they have gone nothing is left.
func TestFUSEAbandon(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding})
	d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
	f := openDevice(t, d.Path, os.O_RDWR)
	disk.Hold()
	t.Cleanup(disk.Resume)
	failed := make(chan error, 1)
	go func() {
		_, err := f.ReadAt(aligned(4096), 0)
		failed <- err
	}()
	if !disk.WaitInFlight(1, testTimeout) {
		t.Fatal("not in flight")
	}
	abandoned := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		abandoned <- d.Abandon(ctx)
	}()
	if err := <-failed; err == nil {
		t.Error("a read of an abandoned device succeeded")
	}
	f.Close() // the last one: the loop device goes
	if err := <-abandoned; err != nil {
		t.Errorf("Abandon: %v", err)
	}
	disk.Resume()
	if err := d.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFUSECloseWithADeadDisk: what a program wrote through the page cache
// cannot be written back, because the disk does not answer. Close comes back
// when its context ends, may be tried again, and Abandon gets rid of it all.
func TestFUSECloseWithADeadDisk(t *testing.T) {
	needsLoop(t)
	for _, recovers := range []bool{true, false} {
		t.Run(fmt.Sprintf("the disk recovers=%v", recovers), func(t *testing.T) {
			noLeaks(t)
			disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding})
			d := attachFUSE(t, attach.FUSEConfig{Disk: disk})
			f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.ReadAt(make([]byte, 4096), 4096); err != nil { // what a partial write would read
				t.Fatal(err)
			}
			if _, err := f.WriteAt(pattern(5, 4096), 4096); err != nil {
				t.Fatal(err)
			}
			disk.Hold()
			t.Cleanup(disk.Resume)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			closed := make(chan error, 1)
			go func() { closed <- d.Close(ctx) }()
			if !disk.WaitInFlight(1, testTimeout) {
				t.Fatal("nothing is written back")
			}
			if err := <-closed; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close while the disk does not answer: %v", err)
			}
			if recovers {
				disk.Resume()
				f.Close()
				closeDevice(t, d)
				if !bytes.Equal(disk.Content()[4096:8192], pattern(5, 4096)) {
					t.Error("what was written is not on the disk")
				}
				return
			}
			again, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			abandoned := make(chan error, 1)
			go func() { abandoned <- d.Abandon(again) }()
			f.Close()
			if err := <-abandoned; err != nil {
				t.Errorf("Abandon: %v", err)
			}
		})
	}
}

// TestFUSEFile: the one file behind the device, for those who look.
func TestFUSEFile(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20, Info: discarding, Poison: true})
	dir := filepath.Join(t.TempDir(), "e1.1")
	attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir})
	point := filepath.Join(dir, "mnt")
	entries, err := os.ReadDir(point)
	if err != nil || len(entries) != 1 || entries[0].Name() != "disk" {
		t.Errorf("the directory has %v (%v)", entries, err)
	}
	file := filepath.Join(point, "disk")
	st, err := os.Stat(file)
	if err != nil || st.Size() != 1<<20 || st.Mode() != 0o600 {
		t.Errorf("%v (%v)", st, err)
	}
	var vfs unix.Statfs_t
	if err := unix.Statfs(point, &vfs); err != nil || vfs.Bsize != 4096 || vfs.Blocks != 256 || vfs.Bfree != 0 {
		t.Errorf("%+v (%v)", vfs, err)
	}
	if err := os.Truncate(file, 0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("truncate: %v", err)
	}
	if err := os.Remove(file); err == nil {
		t.Error("the disk was removed")
	}
	if err := os.WriteFile(filepath.Join(point, "other"), nil, 0o600); err == nil {
		t.Error("another file was made")
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, row := range []struct {
		name   string
		n      int
		offset int64
		want   error
	}{
		{"half a sector", 256, 0, syscall.EINVAL},
		{"at half a sector", 512, 256, syscall.EINVAL},
		{"beyond the end", 512, 1 << 20, syscall.ENOSPC},
		{"across the end", 1024, 1<<20 - 512, syscall.ENOSPC},
		{"the last sector", 512, 1<<20 - 512, nil},
	} {
		if _, err := f.WriteAt(make([]byte, row.n), row.offset); !errors.Is(err, row.want) {
			t.Errorf("write %s: %v, want %v", row.name, err, row.want)
		}
	}
	if n, err := f.ReadAt(make([]byte, 4096), 1<<20-512); n != 512 || !errors.Is(err, io.EOF) {
		t.Errorf("read across the end: %d bytes, %v", n, err)
	}
	if _, err := f.ReadAt(make([]byte, 100), 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("read of a part of a sector: %v", err)
	}
}

// TestFUSEUndoesWhatItBegan: when attaching fails, whatever was made before is
// gone.
func TestFUSEUndoesWhatItBegan(t *testing.T) {
	needsLoop(t)
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20, Info: discarding})
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	occupied := filepath.Join(tmp, "occupied")
	if err := os.MkdirAll(occupied, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(occupied, "mnt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name string
		ctx  context.Context
		cfg  attach.FUSEConfig
	}{
		{"no disk", t.Context(), attach.FUSEConfig{Dir: filepath.Join(tmp, "new")}},
		{"a directory in a file", t.Context(), attach.FUSEConfig{Disk: disk, Dir: filepath.Join(file, "new")}},
		{"a mount point that is a file", t.Context(), attach.FUSEConfig{Disk: disk, Dir: occupied}},
		{"a request that was given up", ended, attach.FUSEConfig{Disk: disk, Dir: filepath.Join(tmp, "new")}},
	} {
		d, err := attach.FUSE(row.ctx, row.cfg)
		if err == nil {
			t.Errorf("%s: attached", row.name)
			closeDevice(t, d)
		}
		if _, err := os.Stat(filepath.Join(tmp, "new")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the directory is still there", row.name)
		}
	}
	small := newDisk(t, attachtest.Config{Size: 1 << 20, Info: attach.Info{MaxRequest: 1024}})
	if _, err := attach.FUSE(t.Context(), attach.FUSEConfig{Disk: small, Dir: filepath.Join(tmp, "new")}); err == nil {
		t.Error("a disk that admits less than a page was attached")
	}
}

// TestFUSESurvivesACrash: a process that dies leaves a dead mount, whose users
// get errors within a moment, and the next one that attaches cleans up.
func TestFUSESurvivesACrash(t *testing.T) {
	needsLoop(t)
	dir := filepath.Join(t.TempDir(), "e1.1")
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("device held open=%v", held), func(t *testing.T) {
			noLeaks(t)
			cmd := exec.Command(os.Args[0], "-test.run=^TestFUSEDaemon$")
			cmd.Env = append(os.Environ(), "ATTACH_TEST_DAEMON="+dir)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var device string
			if _, err := fmt.Fscanf(out, "%s\n", &device); err != nil {
				cmd.Process.Kill()
				cmd.Wait()
				t.Fatalf("the daemon did not come up: %v", err)
			}
			f := openDevice(t, device, os.O_RDWR)
			if _, err := f.ReadAt(aligned(4096), 0); err != nil {
				t.Errorf("read before the crash: %v", err)
			}
			cmd.Process.Kill()
			cmd.Wait()
			start := time.Now()
			if _, err := f.ReadAt(aligned(4096), 0); err == nil {
				t.Error("read after the crash succeeded")
			}
			t.Logf("an error %v after the crash", time.Since(start))
			if !held {
				f.Close()
			}

			disk := newDisk(t, attachtest.Config{Size: 16 << 20, Info: discarding})
			if held {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if d, err := attach.FUSE(ctx, attach.FUSEConfig{Disk: disk, Dir: dir}); !errors.Is(err, attach.ErrInUse) {
					if err == nil {
						d.Close(t.Context())
					}
					t.Errorf("attaching over a dead device that is open: %v, want an InUseError", err)
				}
				f.Close()
			}
			d := attachFUSE(t, attach.FUSEConfig{Disk: disk, Dir: dir})
			if _, err := openDevice(t, d.Path, os.O_RDONLY).ReadAt(aligned(4096), 0); err != nil {
				t.Errorf("read after attaching again: %v", err)
			}
		})
	}
}

// TestFUSEDaemon is the process that TestFUSESurvivesACrash kills.
func TestFUSEDaemon(t *testing.T) {
	dir := os.Getenv("ATTACH_TEST_DAEMON")
	if dir == "" {
		return
	}
	disk := attachtest.New(attachtest.Config{Size: 16 << 20, Info: discarding})
	d, err := attach.FUSE(t.Context(), attach.FUSEConfig{Disk: disk, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(d.Path)
	<-d.Done()
}
