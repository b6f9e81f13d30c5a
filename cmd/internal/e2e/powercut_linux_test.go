package e2e

import (
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"aoe/target/store/storetest"
)

// A powerFS is a file system with one file, disk, whose storage forgets what was
// not synced when its power fails. A kill alone loses nothing that the kernel
// has: this shows that the target asks the kernel for more.
type powerFS struct {
	fuse.RawFileSystem // says ENOSYS to everything that is not here
	disk               *storetest.Crash
	size               uint64
	gone               chan struct{} // closed when nobody is left who could see an answer
	over               <-chan struct{}
	refuse             atomic.Bool // fails syncs
}

const powerInode = 2

// mountPower serves disk in dir until the returned function is called. There
// must be nobody left who uses it then.
func mountPower(t *testing.T, dir string, disk *storetest.Crash) (fs *powerFS, unmount func()) {
	t.Helper()
	fs = &powerFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: disk, size: loadBytes, gone: make(chan struct{}), over: t.Context().Done()}
	server, err := fuse.NewServer(fs, dir, &fuse.MountOptions{
		FsName: "power", Name: "aoetest", DirectMountStrict: true, DisableXAttrs: true, DisableSplice: true,
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		t.Skipf("needs FUSE (modprobe fuse): %v", err)
	}
	served := make(chan struct{})
	go func() { server.Serve(); close(served) }() // ends with the unmounting
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	once := sync.OnceFunc(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
		<-served
	})
	t.Cleanup(once)
	return fs, once
}

func (fs *powerFS) String() string { return "power" }

func (fs *powerFS) attributes(inode uint64, out *fuse.Attr) {
	*out = fuse.Attr{Ino: inode, Mode: syscall.S_IFDIR | 0o700, Nlink: 2, Blksize: blockSize}
	if inode == powerInode {
		out.Mode, out.Nlink, out.Size = syscall.S_IFREG|0o600, 1, fs.size
	}
}

// Lookup implements fuse.RawFileSystem.
func (fs *powerFS) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name != "disk" {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = powerInode, 1
	fs.attributes(powerInode, &out.Attr)
	return fuse.OK
}

// GetAttr implements fuse.RawFileSystem.
func (fs *powerFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem.
func (fs *powerFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize = blockSize
	return fuse.OK
}

// Open implements fuse.RawFileSystem.
func (fs *powerFS) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

// Read implements fuse.RawFileSystem.
func (fs *powerFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := min(uint64(len(buf)), fs.size-min(in.Offset, fs.size))
	_, err := fs.disk.ReadAt(buf[:n], int64(in.Offset))
	return fuse.ReadResultData(buf[:n]), fs.status(err)
}

// Write implements fuse.RawFileSystem.
func (fs *powerFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, err := fs.disk.WriteAt(data, int64(in.Offset))
	return uint32(n), fs.status(err)
}

// Fsync implements fuse.RawFileSystem.
func (fs *powerFS) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status {
	if fs.refuse.Load() {
		return fuse.EIO
	}
	return fs.status(fs.disk.Sync())
}

// status never returns when the power has failed: a machine without power gets
// no errors.
func (fs *powerFS) status(err error) fuse.Status {
	if errors.Is(err, storetest.ErrPower) {
		select {
		case <-fs.gone:
		case <-fs.over: // the test has failed
		}
	}
	if err != nil {
		return fuse.EIO
	}
	return fuse.OK
}

// TestH17PowerCut: the power of a real target on a file of a real kernel fails in
// the middle of some write, read or sync, under a load of writes. What is found
// then is what the mode promised, or newer, and the initiator carries on.
func TestH17PowerCut(t *testing.T) {
	const seed = 18
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for _, mode := range []string{"sync", "direct", "flush"} {
		t.Run(mode, func(t *testing.T) {
			b := newBed(t, 9000)
			dir := filepath.Join(b.dir, "power")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			disk := storetest.NewCrash(loadBytes)
			fs, unmount := mountPower(t, dir, disk)
			server := b.launch(t, filepath.Join(dir, "disk"), "--mode", mode)
			l := b.startLoad(t, mode == "flush")
			for range choose(12, 2) {
				if mode == "flush" {
					l.awaitFlush(t)
				}
				l.await(t, 200)
				disk.FailAfter(rng.Uint64(), rng.IntN(500))
				<-disk.Down()
				if err := server.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				close(fs.gone)
				<-server.done
				promised := l.promised(mode == "flush")
				l.powerFailed()
				unmount()
				if disk.Syncs() == 0 {
					t.Error("nothing was synced: the test tests nothing")
				}
				disk = disk.Restart(rng)
				image := make([]byte, loadBytes)
				if _, err := disk.ReadAt(image, 0); err != nil {
					t.Fatal(err)
				}
				if l.check(t, promised, image) == 0 {
					t.Error("nothing was promised before the power failed: the test tests nothing")
				}
				fs, unmount = mountPower(t, dir, disk)
				server = b.launch(t, filepath.Join(dir, "disk"), "--mode", mode)
			}
			l.await(t, 100)
			l.end(t)
			t.Logf("%d flushes have said that writes are missing", l.told)
			server.stop(t)
			unmount()
		})
	}
}

// TestH17FailedSyncIsVisible: the kernel says once that a sync has failed, and that
// all is well the next time. The target remembers: writes and flushes fail until it
// is started anew, reads go on, and it says why.
func TestH17FailedSyncIsVisible(t *testing.T) {
	b := newBed(t, 9000)
	dir := filepath.Join(b.dir, "power")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fs, unmount := mountPower(t, dir, storetest.NewCrash(loadBytes))
	path := filepath.Join(dir, "disk")
	server := b.launch(t, path)
	disk := b.openDisk(t)
	defer disk.Close()
	block := make([]byte, blockSize)
	write := func() error { _, err := disk.WriteAt(block, 0); return err }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	fs.refuse.Store(true)
	if write() == nil {
		t.Error("a write was acknowledged whose sync failed")
	}
	fs.refuse.Store(false)
	if write() == nil || disk.Flush(t.Context()) == nil {
		t.Error("a write or a flush was acknowledged after a sync had failed")
	}
	if _, err := disk.ReadAt(block, 0); err != nil {
		t.Errorf("reads fail, too: %v", err)
	}
	server.waitFor(t, "a sync failed: writes were lost")
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if <-server.done; server.err == nil {
		t.Error("the target ended as if nothing had happened")
	}
	server = b.launch(t, path)
	if err := write(); err != nil {
		t.Errorf("after a new start: %v", err)
	}
	server.stop(t)
	unmount()
}
