package attach

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// diskFile is the name of the one file.
const diskFile = "disk"

const (
	rootInode = fuse.FUSE_ROOT_ID
	diskInode = 2
)

// A fileSystem is a directory with one file, the disk.
type fileSystem struct {
	fuse.RawFileSystem // says ENOSYS to everything that is not here
	disk               Disk
	info               Info
	made               time.Time

	ctx  context.Context // ends with the device: admission is over then
	quit context.CancelFunc

	mu   sync.Mutex
	free []*fuseCall // calls that are not in use; as many as ever were at once

	reads, writes, flushes, trims, zeroes, errors atomic.Uint64
}

func newFileSystem(disk Disk, info Info) *fileSystem {
	f := &fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: disk, info: info, made: time.Now()}
	f.ctx, f.quit = context.WithCancel(context.Background())
	return f
}

// String implements fuse.RawFileSystem: the type shown in the list of mounts
// is "fuse.aoe".
func (f *fileSystem) String() string { return "aoe" }

func (f *fileSystem) stats() FUSEStats {
	return FUSEStats{
		Reads: f.reads.Load(), Writes: f.writes.Load(), Flushes: f.flushes.Load(),
		Trims: f.trims.Load(), Zeroes: f.zeroes.Load(), Errors: f.errors.Load(),
	}
}

// forEver is for attributes that do not change.
const forEver = uint64(1 << 30)

func (f *fileSystem) attributes(inode uint64, out *fuse.Attr) {
	at := uint64(f.made.Unix())
	*out = fuse.Attr{Ino: inode, Mtime: at, Ctime: at, Atime: at, Blksize: fuseBlock, Nlink: 1}
	if inode == rootInode {
		out.Mode, out.Nlink = syscall.S_IFDIR|0o500, 2
		return
	}
	out.Mode = syscall.S_IFREG | 0o600
	if f.info.ReadOnly {
		out.Mode = syscall.S_IFREG | 0o400
	}
	out.Size = uint64(f.disk.Size())
	out.Blocks = out.Size / SectorSize
}

// Lookup implements fuse.RawFileSystem. The size is not to be cached: it may
// change (H16).
func (f *fileSystem) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if h.NodeId != rootInode || name != diskFile {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation, out.EntryValid = diskInode, 1, forEver
	f.attributes(diskInode, &out.Attr)
	return fuse.OK
}

// GetAttr implements fuse.RawFileSystem.
func (f *fileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.NodeId == rootInode {
		out.AttrValid = forEver
	}
	f.attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem: neither size nor mode nor owner of a
// disk is changed from here.
func (f *fileSystem) SetAttr(<-chan struct{}, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status {
	return fuse.EPERM
}

// Open implements fuse.RawFileSystem. Direct I/O keeps the page cache out of
// it: the loop device has one. Without parallel writes, writes to one file wait
// for each other.
func (f *fileSystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.info.ReadOnly && in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.EROFS
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Release implements fuse.RawFileSystem.
func (f *fileSystem) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// OpenDir implements fuse.RawFileSystem.
func (f *fileSystem) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (f *fileSystem) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir implements fuse.RawFileSystem.
func (f *fileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for i, e := range []fuse.DirEntry{
		{Name: ".", Ino: rootInode, Mode: syscall.S_IFDIR},
		{Name: "..", Ino: rootInode, Mode: syscall.S_IFDIR},
		{Name: diskFile, Ino: diskInode, Mode: syscall.S_IFREG},
	} {
		if uint64(i) >= in.Offset && !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem. The loop driver takes its granularity
// of discard from the block size told here.
func (f *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{
		Blocks: uint64(f.disk.Size()) / fuseBlock, Files: 1,
		Bsize: fuseBlock, Frsize: fuseBlock, NameLen: uint32(len(diskFile)),
	}
	return fuse.OK
}

// Read implements fuse.RawFileSystem. The data goes to the kernel from where
// it was received: the call is the result, and gives the data back after it was
// sent.
func (f *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	f.reads.Add(1)
	n := int64(in.Size)
	size := f.disk.Size()
	if in.Offset >= uint64(size) {
		return fuse.ReadResultData(nil), fuse.OK // end of file
	}
	offset := int64(in.Offset)
	n = min(n, size-offset)
	if n%SectorSize != 0 || offset%SectorSize != 0 || n > int64(f.info.MaxRequest) {
		return nil, f.count(fuse.EINVAL)
	}
	c := f.call()
	c.start(Op{Kind: Read, Offset: offset, Length: int(n)})
	if s := c.wait(cancel); s != fuse.OK {
		return nil, f.count(s)
	}
	return c, fuse.OK
}

// Writev implements fuse.RawFileSystem.
func (f *fileSystem) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	f.writes.Add(1)
	c := f.call()
	c.data = data
	s := f.do(cancel, c, Write, in.Offset, uint64(in.Size), f.info.MaxRequest)
	if s != fuse.OK {
		return 0, s
	}
	return in.Size, fuse.OK
}

// Fsync implements fuse.RawFileSystem: the loop driver turns a flush into it.
func (f *fileSystem) Fsync(cancel <-chan struct{}, _ *fuse.FsyncIn) fuse.Status {
	f.flushes.Add(1)
	return f.do(cancel, f.call(), Flush, 0, 0, 0)
}

// Fallocate implements fuse.RawFileSystem. fallocate(2): "subsequent reads
// from this range will return zeros" holds for both modes, and the loop driver
// uses the first one for writing zeros too. So only a disk that reads zeros
// where it was trimmed can serve it; the kernel writes zeros itself when it is
// refused.
func (f *fileSystem) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	switch in.Mode {
	case unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE:
		f.trims.Add(1)
		if !f.info.Trim || !f.info.TrimZeroes {
			return fuse.Status(unix.EOPNOTSUPP)
		}
		return f.do(cancel, f.call(), Trim, in.Offset, in.Length, f.info.MaxTrim)
	case unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE:
		f.zeroes.Add(1)
		return f.do(cancel, f.call(), Write, in.Offset, in.Length, f.info.MaxRequest)
	}
	return fuse.Status(unix.EOPNOTSUPP)
}

// do checks a range and does it in parts of at most longest bytes.
func (f *fileSystem) do(cancel <-chan struct{}, c *fuseCall, kind Kind, offset, length uint64, longest int) fuse.Status {
	size := uint64(f.disk.Size())
	switch {
	case kind != Flush && f.info.ReadOnly:
		return f.count(c.refuse(fuse.EROFS))
	case offset > size || length > size-offset:
		return f.count(c.refuse(fuse.Status(unix.ENOSPC)))
	case offset%SectorSize != 0 || length%SectorSize != 0:
		return f.count(c.refuse(fuse.EINVAL))
	case length == 0 && kind != Flush:
		return c.refuse(fuse.OK)
	}
	at, rest := int64(offset), int64(length)
	for {
		n := int(min(rest, int64(longest)))
		if !c.start(Op{Kind: kind, Offset: at, Length: n}) {
			break
		}
		at += int64(n)
		if rest -= int64(n); rest == 0 {
			break
		}
	}
	return f.count(c.wait(cancel))
}

func (f *fileSystem) count(s fuse.Status) fuse.Status {
	if s != fuse.OK {
		f.errors.Add(1)
	}
	return s
}

// fuseStatus is what the kernel is told of err.
func fuseStatus(err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, os.ErrPermission):
		return fuse.EPERM
	case errors.Is(err, os.ErrInvalid):
		return fuse.EINVAL
	}
	return fuse.EIO
}
