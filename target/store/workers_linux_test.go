package store_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkWorkers is why a target has a fixed number of goroutines for a disk
// and no io_uring: what random reads and writes of 4 KiB cost, 32 under way at
// once, by each of them, on each kind of store. cpu-ns/op is what the process and
// the kernel on its behalf spend; it is what counts on a machine that does other
// things as well, and can be measured on one.
//
//	go test ./target/store -run '^$' -bench Workers -benchtime 100000x
func BenchmarkWorkers(b *testing.B) {
	for _, kind := range []struct {
		name   string
		dir    string // of the file
		device bool
		flags  int
	}{
		{"tmpfs", "/dev/shm", false, 0},
		{"file", b.TempDir(), false, 0},
		{"file-direct", b.TempDir(), false, unix.O_DIRECT},
		{"device", b.TempDir(), true, 0},
		{"device-direct", b.TempDir(), true, unix.O_DIRECT},
	} {
		for _, op := range []string{"read", "write"} {
			for _, row := range []struct {
				name string
				run  func(*testing.B, int, bool)
			}{{"inline", inline}, {"8-workers", workers(8)}, {"1-worker", workers(1)}, {"io_uring", rings}} {
				b.Run(kind.name+"/"+op+"/"+row.name, func(b *testing.B) {
					fd := benchFile(b, kind.dir, kind.device, kind.flags)
					before := cpu(b)
					b.ResetTimer()
					row.run(b, fd, op == "write")
					b.StopTimer()
					b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}

const (
	benchBytes = 64 << 20
	benchBlock = 4096
	benchDepth = 32
)

// benchFile makes a file, or a device of it, all of which was written once.
func benchFile(b *testing.B, dir string, device bool, flags int) int {
	b.Helper()
	image := filepath.Join(dir, "aoe-bench.img")
	if err := os.WriteFile(image, make([]byte, benchBytes), 0o600); err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { os.Remove(image) })
	path := image
	if device {
		out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
		if err != nil {
			b.Skipf("needs a free loop device, and root: %v: %s", err, out)
		}
		path = strings.TrimSpace(string(out))
		b.Cleanup(func() { exec.Command("losetup", "-d", path).Run() })
	}
	fd, err := unix.Open(path, unix.O_RDWR|flags, 0)
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	if err := unix.Fsync(fd); err != nil {
		b.Fatal(err)
	}
	return fd
}

// cpu is the processor time of the process so far, the kernel's threads for its
// ring included.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func place(rng *rand.Rand) int64 { return rng.Int64N(benchBytes/benchBlock) * benchBlock }

func move(fd int, p []byte, off int64, write bool) error {
	var n int
	var err error
	if write {
		n, err = unix.Pwrite(fd, p, off)
	} else {
		n, err = unix.Pread(fd, p, off)
	}
	if err == nil && n != len(p) {
		err = unix.EIO
	}
	return err
}

// inline does one after the other.
func inline(b *testing.B, fd int, write bool) {
	rng := rand.New(rand.NewPCG(1, 0))
	p := aligned(benchBlock, 0)
	for range b.N {
		if err := move(fd, p, place(rng), write); err != nil {
			b.Fatal(err)
		}
	}
}

// workers hands each to one of n goroutines, as a target does.
func workers(n int) func(*testing.B, int, bool) {
	return func(b *testing.B, fd int, write bool) {
		type job struct {
			p   []byte
			off int64
		}
		todo, done := make(chan *job, benchDepth), make(chan *job, benchDepth)
		var failed atomic.Value
		var all sync.WaitGroup
		for range n {
			all.Go(func() { // ends when todo is closed
				for j := range todo {
					if err := move(fd, j.p, j.off, write); err != nil {
						failed.Store(err)
					}
					done <- j
				}
			})
		}
		rng := rand.New(rand.NewPCG(1, 0))
		for range benchDepth {
			done <- &job{p: aligned(benchBlock, 0)}
		}
		for range b.N {
			j := <-done
			j.off = place(rng)
			todo <- j
		}
		close(todo)
		all.Wait()
		if err := failed.Load(); err != nil {
			b.Fatal(err)
		}
	}
}

// A ring is the least of io_uring(7) that reads and writes.
type ring struct {
	fd         int
	mem, sqes  []byte
	p          [30]uint32 // struct io_uring_params
	tail, head uint32
}

// Where things are in struct io_uring_params, in words of four bytes.
const (
	sqTailWord, sqArrayWord = 10 + 1, 10 + 6
	cqHeadWord, cqTailWord  = 20 + 0, 20 + 1
	cqesWord                = 20 + 5
	singleIssuerDeferred    = 1<<12 | 1<<13
)

func newRing(b *testing.B) *ring {
	r := &ring{}
	r.p[2] = singleIssuerDeferred
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, benchDepth, uintptr(unsafe.Pointer(&r.p)), 0)
	if errno != 0 {
		b.Skipf("needs io_uring, Linux 6.1: %v", errno)
	}
	r.fd = int(fd)
	b.Cleanup(func() { unix.Close(r.fd) })
	for _, m := range []struct {
		to   *[]byte
		off  int64
		size uint32
	}{{&r.mem, 0, r.p[cqesWord] + r.p[1]*16}, {&r.sqes, 0x10000000, r.p[0] * 64}} {
		mem, err := unix.Mmap(r.fd, m.off, int(m.size)+benchBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Munmap(mem) })
		*m.to = mem
	}
	for i := range r.p[0] {
		*(*uint32)(unsafe.Pointer(&r.mem[r.p[sqArrayWord]+4*i])) = i
	}
	return r
}

func (r *ring) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&r.mem[r.p[at]])) }

// put adds a read or write of the buffer number n.
func (r *ring) put(fd int, p []byte, off int64, n uint64, write bool) {
	e := r.sqes[(r.tail%r.p[0])*64:][:64]
	clear(e)
	e[0] = 22 // IORING_OP_READ
	if write {
		e[0] = 23
	}
	binary.NativeEndian.PutUint32(e[4:], uint32(fd))
	binary.NativeEndian.PutUint64(e[8:], uint64(off))
	binary.NativeEndian.PutUint64(e[16:], uint64(uintptr(unsafe.Pointer(&p[0]))))
	binary.NativeEndian.PutUint32(e[24:], uint32(len(p)))
	binary.NativeEndian.PutUint64(e[32:], n)
	r.tail++
}

// enter submits n and waits for one at least.
func (r *ring) enter(b *testing.B, n int) {
	atomic.StoreUint32(r.word(sqTailWord), r.tail)
	for {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 1, 1, 0, 0)
		if errno == 0 {
			return
		} else if errno != unix.EINTR {
			b.Fatal(errno)
		}
	}
}

// rings has all 32 under way from one goroutine, and submits as many at a time
// as have come back.
func rings(b *testing.B, fd int, write bool) {
	runtime.LockOSThread() // the ring's single issuer
	defer runtime.UnlockOSThread()
	r := newRing(b)
	rng := rand.New(rand.NewPCG(1, 0))
	var bufs [benchDepth][]byte
	var free []uint64
	for i := range bufs {
		bufs[i] = aligned(benchBlock, 0)
		free = append(free, uint64(i))
	}
	for begun, done := 0, 0; done < b.N; {
		n := 0
		for ; len(free) > 0 && begun < b.N; begun++ {
			i := free[len(free)-1]
			free = free[:len(free)-1]
			r.put(fd, bufs[i], place(rng), i, write)
			n++
		}
		r.enter(b, n)
		for r.head != atomic.LoadUint32(r.word(cqTailWord)) {
			e := r.mem[r.p[cqesWord]+(r.head%r.p[1])*16:]
			if got := int32(binary.NativeEndian.Uint32(e[8:])); got != benchBlock {
				b.Fatalf("%d bytes were moved", got)
			}
			free = append(free, binary.NativeEndian.Uint64(e))
			r.head++
			done++
		}
		atomic.StoreUint32(r.word(cqHeadWord), r.head)
	}
}
