package attach_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// pattern is n bytes that differ from those of every other offset.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := 0; i < n; i += 8 {
		v := rng.Uint64()
		for k := i; k < min(i+8, n); k++ {
			b[k], v = byte(v), v>>8
		}
	}
	return b
}

// trimming is a disk that can do everything.
var trimming = attach.Info{MaxRequest: 64 << 10, Trim: true, TrimZeroes: true, WriteCache: true}

// TestNBDServesRequests is the life of a connection: everything a client can
// ask for, in both forms of replies, short and longer than the disk admits.
func TestNBDServesRequests(t *testing.T) {
	for _, structured := range []bool{false, true} {
		t.Run(fmt.Sprintf("structured=%v", structured), func(t *testing.T) {
			noLeaks(t)
			disk := newDisk(t, attachtest.Config{Size: 8 << 20, Info: trimming, Poison: true, Shuffle: true})
			_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
			c := dialNBD(t, socket, structured)
			if c.size != 8<<20 {
				t.Fatalf("size %d", c.size)
			}
			want := func(step string, a answer, errno uint32) {
				t.Helper()
				if a.errno != errno {
					t.Fatalf("%s: error %d, want %d", step, a.errno, errno)
				}
			}
			for i, length := range []int{512, 4096, 64 << 10, 64<<10 + 512, 1 << 20} {
				offset := uint64(i) * (1 << 20)
				data := pattern(uint64(i), length)
				a, _ := c.do(cmdWrite, 0, offset, uint32(length), data)
				want("write", a, eOK)
				a, got := c.do(cmdRead, 0, offset, uint32(length), nil)
				want("read", a, eOK)
				if a.got != length || !bytes.Equal(got, data) {
					t.Fatalf("read of %d bytes returned others", length)
				}
			}

			a, _ := c.do(cmdFlush, 0, 0, 0, nil)
			want("flush", a, eOK)
			if n := disk.Completed(attach.Flush); n != 1 {
				t.Fatalf("%d flushes reached the disk, want 1", n)
			}
			a, _ = c.do(cmdWrite, fFUA, 0, 4096, pattern(9, 4096))
			want("write FUA", a, eOK)
			if n := disk.Completed(attach.Flush); n != 2 {
				t.Fatalf("%d flushes reached the disk after FUA, want 2", n)
			}

			a, _ = c.do(cmdTrim, 0, 1<<20, 256<<10, nil)
			want("trim", a, eOK)
			a, _ = c.do(cmdZeroes, fNoHole, 4<<20, 256<<10, nil)
			want("zeroes without a hole", a, eOK)
			if n := disk.Moved(attach.Trim); n != 256<<10 {
				t.Fatalf("%d bytes trimmed: zeroes without a hole may not trim", n)
			}
			a, _ = c.do(cmdZeroes, fFastZero|fFUA, 4<<20+256<<10, 256<<10, nil)
			want("fast zeroes", a, eOK)
			if n := disk.Moved(attach.Trim); n != 512<<10 {
				t.Fatalf("%d bytes trimmed after fast zeroes", n)
			}
			_, got := c.do(cmdRead, 0, 4<<20, 512<<10, nil)
			if !bytes.Equal(got, make([]byte, 512<<10)) {
				t.Fatal("zeroes are not read back")
			}

			c.request(cmdDisc, 0, 0, 0, nil)
			c.gone()
		})
	}
}

// TestNBDRefuses: what the protocol says must fail fails with the error that it
// says, and the connection lives on.
func TestNBDRefuses(t *testing.T) {
	const size = 1 << 20
	plain := attach.Info{MaxRequest: 64 << 10}
	readOnly := attach.Info{MaxRequest: 64 << 10, ReadOnly: true}
	rows := []struct {
		name    string
		info    attach.Info
		command uint16
		flags   uint16
		offset  uint64
		length  uint32
		want    uint32
	}{
		{"read beyond the end", plain, cmdRead, 0, size, 512, eINVAL},
		{"read across the end", plain, cmdRead, 0, size - 512, 1024, eINVAL},
		{"read at an offset that overflows", plain, cmdRead, 0, ^uint64(511), 1024, eINVAL},
		{"read of nothing", plain, cmdRead, 0, 0, 0, eINVAL},
		{"read of half a sector", plain, cmdRead, 0, 0, 256, eINVAL},
		{"read at half a sector", plain, cmdRead, 0, 256, 512, eINVAL},
		{"read with an unknown flag", plain, cmdRead, 1 << 9, 0, 512, eINVAL},
		{"read that must not be fragmented, which was not offered", plain, cmdRead, fDF, 0, 512, eINVAL},
		{"read with FUA, which means nothing", plain, cmdRead, fFUA, 0, 512, eOK},
		{"write beyond the end", plain, cmdWrite, 0, size, 512, eNOSPC},
		{"write across the end", plain, cmdWrite, 0, size - 512, 1024, eNOSPC},
		{"write of half a sector", plain, cmdWrite, 0, 0, 100, eINVAL},
		{"write of nothing", plain, cmdWrite, 0, 0, 0, eINVAL},
		{"write with a hole flag", plain, cmdWrite, fNoHole, 0, 512, eINVAL},
		{"flush with a length", plain, cmdFlush, 0, 0, 512, eINVAL},
		{"flush with FUA", plain, cmdFlush, fFUA, 0, 0, eOK},
		{"trim, which was not offered", plain, cmdTrim, 0, 0, 512, eINVAL},
		{"trim across the end", trimming, cmdTrim, 0, size - 512, 1024, eINVAL},
		{"zeroes across the end", plain, cmdZeroes, 0, size - 512, 1024, eNOSPC},
		{"fast zeroes, which were not offered", plain, cmdZeroes, fFastZero, 0, 512, eINVAL},
		{"fast zeroes without a hole", trimming, cmdZeroes, fFastZero | fNoHole, 0, 512, eNOTSUP},
		{"cache, which was not offered", plain, cmdCache, 0, 0, 512, eINVAL},
		{"block status, which was not offered", plain, 7, 0, 0, 512, eINVAL},
		{"a command nobody knows", plain, 999, 0, 0, 512, eINVAL},
		{"write to a read-only disk", readOnly, cmdWrite, 0, 0, 512, ePERM},
		{"trim of a read-only disk", readOnly, cmdTrim, 0, 0, 512, ePERM},
		{"zeroes on a read-only disk", readOnly, cmdZeroes, 0, 0, 512, ePERM},
		{"flush of a read-only disk", readOnly, cmdFlush, 0, 0, 0, eOK},
		{"read of a read-only disk", readOnly, cmdRead, 0, 0, 512, eOK},
	}
	for _, structured := range []bool{false, true} {
		for _, row := range rows {
			t.Run(fmt.Sprintf("%s, structured=%v", row.name, structured), func(t *testing.T) {
				noLeaks(t)
				disk := newDisk(t, attachtest.Config{Size: size, Info: row.info})
				_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
				c := dialNBD(t, socket, structured)
				var payload []byte
				if row.command == cmdWrite {
					payload = make([]byte, row.length)
				}
				a, _ := c.do(row.command, row.flags, row.offset, row.length, payload)
				if a.errno != row.want {
					t.Errorf("error %d, want %d", a.errno, row.want)
				}
				if a, _ := c.do(cmdRead, 0, 0, 512, nil); a.errno != eOK {
					t.Errorf("the next request fails with %d", a.errno)
				}
				if n := disk.Completed(attach.Write) + disk.Completed(attach.Trim); n != 0 {
					t.Errorf("%d changes reached the disk", n)
				}
			})
		}
	}
}

// TestNBDPayloadLimit: the longest payload is what was announced. A longer
// read is refused; a longer write is not even read.
func TestNBDPayloadLimit(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 80 << 20})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	for structured, want := range map[bool]uint32{false: eINVAL, true: eOVERFLOW} {
		c := dialNBD(t, socket, structured)
		if a, _ := c.do(cmdRead, 0, 0, 32<<20+512, nil); a.errno != want {
			t.Errorf("structured=%v: too long a read: error %d, want %d", structured, a.errno, want)
		}
		if a, _ := c.do(cmdRead, 0, 0, 32<<20, nil); a.errno != eOK || a.got != 32<<20 {
			t.Errorf("structured=%v: the longest read: error %d, %d bytes", structured, a.errno, a.got)
		}
		c.request(cmdWrite, 0, 0, 33<<20, nil)
		c.gone()
	}
}

// TestNBDTellsDiskErrors: errors of the disk reach the client as what they
// are, whichever part of a request they hit.
func TestNBDTellsDiskErrors(t *testing.T) {
	const part = 64 << 10
	broken := errors.New("bad sector")
	rows := []struct {
		name    string
		fault   func(attach.Op) error
		command uint16
		flags   uint16
		length  uint32
		want    uint32
	}{
		{"read", func(attach.Op) error { return broken }, cmdRead, 0, 512, eIO},
		{"long read, first part", failAt(attach.Read, 0, broken), cmdRead, 0, 4 * part, eIO},
		{"long read, last part", failAt(attach.Read, 3*part, broken), cmdRead, 0, 4 * part, eIO},
		{"write", func(attach.Op) error { return broken }, cmdWrite, 0, 512, eIO},
		{"long write, second part", failAt(attach.Write, part, broken), cmdWrite, 0, 4 * part, eIO},
		{"write refused", func(attach.Op) error { return fmt.Errorf("reserved: %w", fs.ErrPermission) }, cmdWrite, 0, 512, ePERM},
		{"trim", func(attach.Op) error { return broken }, cmdTrim, 0, 512, eIO},
		{"flush", func(attach.Op) error { return broken }, cmdFlush, 0, 0, eIO},
		{"flush behind a write", failAt(attach.Flush, 0, broken), cmdWrite, fFUA, 512, eIO},
	}
	for _, structured := range []bool{false, true} {
		for _, row := range rows {
			t.Run(fmt.Sprintf("%s, structured=%v", row.name, structured), func(t *testing.T) {
				noLeaks(t)
				disk := newDisk(t, attachtest.Config{Size: 1 << 20, Info: trimming, Fault: row.fault, Poison: true})
				_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
				c := dialNBD(t, socket, structured)
				if row.name == "long read, last part" && !structured {
					// A simple reply has promised success by then.
					c.request(row.command, row.flags, 0, row.length, nil)
					c.gone()
					return
				}
				var payload []byte
				if row.command == cmdWrite {
					payload = make([]byte, row.length)
				}
				a, _ := c.do(row.command, row.flags, 0, row.length, payload)
				if a.errno != row.want {
					t.Errorf("error %d, want %d", a.errno, row.want)
				}
			})
		}
	}
}

func failAt(kind attach.Kind, offset int64, err error) func(attach.Op) error {
	return func(op attach.Op) error {
		if op.Kind == kind && op.Offset == offset {
			return err
		}
		return nil
	}
}

// TestNBDKeepsData is a long seeded conversation on several connections with
// many requests in flight, checked against a plain copy of the disk.
func TestNBDKeepsData(t *testing.T) {
	for n := range 4 {
		structured, alone := n&1 != 0, n&2 != 0
		t.Run(fmt.Sprintf("structured=%v, alone=%v", structured, alone), func(t *testing.T) {
			noLeaks(t)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			disk := newDisk(t, attachtest.Config{
				Size: 4 << 20, Segment: 1024, Requests: 5, Poison: true, Shuffle: true, Alone: alone,
				Info: attach.Info{MaxRequest: 16 << 10, WriteCache: true},
				Rand: rand.New(rand.NewPCG(seed, 2)),
			})
			_, socket := serveNBD(t, attach.NBDConfig{Disk: disk, InFlight: 4})
			shadow := make([]byte, 4<<20)
			// Each client has a region of its own and does not overlap its own
			// requests: their order would not be determined.
			for k := range 3 {
				c := dialNBD(t, socket, structured)
				region := shadow[k<<20 : (k+1)<<20]
				for range 40 {
					c.converse(rng, region, uint64(k)<<20)
				}
				c.request(cmdDisc, 0, 0, 0, nil)
				c.gone()
			}
			if !bytes.Equal(shadow, disk.Content()) {
				t.Error("the disk is not what was written")
			}
		})
	}
}

// converse sends several requests at once, for disjoint slices of region, and
// checks the answers in whatever order they come.
func (c *nbdClient) converse(rng *rand.Rand, region []byte, base uint64) {
	c.t.Helper()
	const slice = 64 << 10
	want := map[uint64][]byte{}
	at := map[uint64]uint64{}
	for _, k := range rng.Perm(len(region) / slice)[:1+rng.IntN(8)] {
		n := (1 + rng.IntN(slice/512)) * 512
		piece := region[k*slice:][:n]
		offset := base + uint64(k*slice)
		switch rng.IntN(4) {
		case 0:
			copy(piece, pattern(rng.Uint64(), n))
			want[c.request(cmdWrite, uint16(rng.IntN(2)), offset, uint32(n), piece)] = nil
		case 1:
			clear(piece)
			want[c.request(cmdZeroes, uint16(rng.IntN(4)), offset, uint32(n), nil)] = nil
		default:
			cookie := c.request(cmdRead, 0, offset, uint32(n), nil)
			want[cookie], at[cookie] = piece, offset
		}
	}
	c.collect(want, at)
}

// collect receives an answer for each cookie in want and compares data.
// Chunks of different replies may be interleaved.
func (c *nbdClient) collect(want map[uint64][]byte, at map[uint64]uint64) {
	c.t.Helper()
	got := map[uint64][]byte{}
	for len(want) > 0 {
		p, err := c.receive(func(cookie uint64) int { return len(want[cookie]) })
		if err != nil {
			c.t.Fatal(err)
		}
		if p.errno != 0 {
			c.t.Fatalf("request %d: error %d", p.cookie, p.errno)
		}
		expected, ok := want[p.cookie]
		if !ok {
			c.t.Fatalf("an answer to %d, which is not open", p.cookie)
		}
		if got[p.cookie] == nil {
			got[p.cookie] = make([]byte, len(expected))
		}
		if p.hasOffset {
			copy(got[p.cookie][p.offset-at[p.cookie]:], p.data)
		} else {
			copy(got[p.cookie], p.data)
		}
		if !p.done {
			continue
		}
		if !bytes.Equal(got[p.cookie], expected) {
			c.t.Fatalf("request %d read other data than was written", p.cookie)
		}
		delete(want, p.cookie)
	}
}

// TestNBDManyInFlight: a connection has as many requests in flight as
// configured, not more, and takes the next as soon as there is room.
func TestNBDManyInFlight(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk, InFlight: 16})
	c := dialNBD(t, socket, true)
	disk.Hold()
	for i := range 40 {
		c.request(cmdRead, 0, uint64(i)*512, 512, nil)
	}
	if !disk.WaitInFlight(16, testTimeout) {
		t.Fatal("16 requests are not in flight")
	}
	disk.Resume()
	buf := make([]byte, 512)
	for range 40 {
		h := make([]byte, 28)
		c.recv(h)
		c.recv(buf)
	}
	if p := disk.Peak(); p != 16 {
		t.Errorf("%d requests in flight at most, want 16", p)
	}
}

// TestNBDBackpressure: with less admission than clients want, everything ends,
// whatever the requests' lengths: nobody holds and waits.
func TestNBDBackpressure(t *testing.T) {
	for _, structured := range []bool{false, true} {
		t.Run(fmt.Sprintf("structured=%v", structured), func(t *testing.T) {
			noLeaks(t)
			disk := newDisk(t, attachtest.Config{
				Size: 8 << 20, Requests: 1, Segment: 1024, Poison: true,
				Info: attach.Info{MaxRequest: 8 << 10, WriteCache: true},
			})
			_, socket := serveNBD(t, attach.NBDConfig{Disk: disk, InFlight: 2})
			done := make(chan *nbdClient)
			for k := range 4 {
				c := dialNBD(t, socket, structured)
				go func() {
					defer func() { done <- c }()
					at := uint64(k) << 20
					data := pattern(uint64(k), 128<<10)
					for range 3 {
						c.request(cmdWrite, fFUA, at, uint32(len(data)), data)
						if a := c.answer(nil, 0); a.errno != 0 {
							t.Errorf("write: error %d", a.errno)
						}
						cookie := c.request(cmdRead, 0, at, uint32(len(data)), nil)
						second := c.request(cmdRead, 0, at, 512, nil)
						c.collect(map[uint64][]byte{cookie: data, second: data[:512]}, map[uint64]uint64{cookie: at, second: at})
					}
				}()
			}
			for range 4 {
				<-done
			}
			if p := disk.Peak(); p != 1 {
				t.Errorf("%d in flight with one admitted", p)
			}
		})
	}
}

// TestNBDMultiConn: a flush on one connection covers what was acknowledged on
// another, because nothing lies between a client and the disk.
func TestNBDMultiConn(t *testing.T) {
	noLeaks(t)
	var unflushed, atFlush atomic.Int64
	disk := newDisk(t, attachtest.Config{Size: 1 << 20, Info: attach.Info{MaxRequest: 64 << 10, WriteCache: true},
		Fault: func(op attach.Op) error {
			switch op.Kind {
			case attach.Write:
				unflushed.Add(1)
			case attach.Flush:
				atFlush.Store(unflushed.Swap(0))
			}
			return nil
		}})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	a, b := dialNBD(t, socket, true), dialNBD(t, socket, false)
	if a.flags&b.flags&(1<<8) == 0 {
		t.Fatal("CAN_MULTI_CONN is not offered")
	}
	for i := range 10 {
		a.do(cmdWrite, 0, uint64(i)*512, 512, make([]byte, 512))
	}
	b.do(cmdFlush, 0, 0, 0, nil)
	if n := atFlush.Load(); n != 10 {
		t.Errorf("the flush on one connection found %d of 10 writes of the other at the disk", n)
	}
	if _, got := b.do(cmdRead, 0, 0, 512, nil); len(got) != 512 {
		t.Error("the other connection cannot read")
	}
}

// TestNBDTooManyClients: one more than configured is turned away, and let in
// when another has left.
func TestNBDTooManyClients(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	n, socket := serveNBD(t, attach.NBDConfig{Disk: disk, Connections: 2})
	first := dialNBD(t, socket, true)
	dialNBD(t, socket, true)
	connectNBD(t, socket).gone()
	if r := n.Stats().Refused; r != 1 {
		t.Errorf("%d refused, want 1", r)
	}
	first.request(cmdDisc, 0, 0, 0, nil)
	first.gone()
	if !eventually(func() bool {
		c := connectNBD(t, socket)
		defer c.conn.Close()
		_, err := c.conn.Read(make([]byte, 18))
		return err == nil
	}) {
		t.Error("nobody is let in after a client has left")
	}
}

// TestNBDSocketFile: the socket belongs to its owner alone; one that a dead
// process left is replaced, a living one and other files are not.
func TestNBDSocketFile(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	dir := t.TempDir()
	path := filepath.Join(dir, "nbd")
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk, Socket: path})
	st, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v: others can connect", st.Mode())
	}
	if _, err := attach.ListenNBD(attach.NBDConfig{Disk: disk, Socket: path}); err == nil {
		t.Error("a second server took the socket over")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := attach.ListenNBD(attach.NBDConfig{Disk: disk, Socket: file}); err == nil {
		t.Error("a file was replaced by a socket")
	}
	stale := filepath.Join(dir, "stale")
	leaveStaleSocket(t, stale)
	serveNBD(t, attach.NBDConfig{Disk: disk, Socket: stale})
	dialNBD(t, stale, true)
}

// leaveStaleSocket leaves what a process that was killed leaves.
func leaveStaleSocket(t *testing.T, path string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
}

// TestNBDConfigIsChecked: what cannot work is refused at once.
func TestNBDConfigIsChecked(t *testing.T) {
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	odd := newDisk(t, attachtest.Config{Size: 1 << 20, Info: attach.Info{MaxRequest: 1000}})
	for _, row := range []struct {
		name string
		cfg  attach.NBDConfig
	}{
		{"no disk", attach.NBDConfig{Socket: "x"}},
		{"no socket", attach.NBDConfig{Disk: disk}},
		{"a disk that admits parts of sectors", attach.NBDConfig{Disk: odd, Socket: "x"}},
		{"a name longer than the protocol allows", attach.NBDConfig{Disk: disk, Socket: "x", Name: string(make([]byte, 5000))}},
	} {
		if _, err := attach.ListenNBD(row.cfg); err == nil {
			t.Errorf("%s: accepted", row.name)
		}
	}
}

// TestServeNBD: the whole life in one call.
func TestServeNBD(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	socket := filepath.Join(t.TempDir(), "nbd")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- attach.ServeNBD(ctx, attach.NBDConfig{Disk: disk, Socket: socket}) }()
	if !eventually(func() bool { _, err := os.Stat(socket); return err == nil }) {
		t.Fatal("no socket")
	}
	c := dialNBD(t, socket, true)
	cancel()
	c.gone()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
