package attach_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// socketPair is what the kernel's client has: two ends, no path.
func socketPair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// TestNBDTransmissionOnly: the transmission phase works on a socket pair
// without negotiation, which is how the kernel's client is served.
func TestNBDTransmissionOnly(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	ours, theirs := socketPair(t)
	ended := make(chan error, 1)
	go func() { ended <- attach.TransmitNBD(ours, disk, false, 8) }()
	defer theirs.Close()
	theirs.SetDeadline(time.Now().Add(testTimeout))
	c := &nbdClient{t: t, conn: theirs}
	data := pattern(1, 4096)
	c.do(cmdWrite, 0, 8192, 4096, data)
	if _, got := c.do(cmdRead, 0, 8192, 4096, nil); !bytes.Equal(got, data) {
		t.Error("read other data than was written")
	}
	c.request(cmdDisc, 0, 0, 0, nil)
	c.gone()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNBDVanishesAtEveryByte: a client that goes away after any byte of a
// conversation gives everything back: grants, slots, goroutines. What it wrote
// completely is on the disk, and nothing of what it wrote incompletely.
func TestNBDVanishesAtEveryByte(t *testing.T) {
	const block = 1024
	said := bytes.Join([][]byte{
		nbdRequest(cmdRead, 0, 1, 0, block),
		nbdRequest(cmdWrite, fFUA, 2, block, block), pattern(2, block),
		nbdRequest(cmdRead, 0, 3, 0, 8*block), // longer than MaxRequest
		nbdRequest(cmdWrite, 0, 4, 2*block, block), pattern(4, block),
		nbdRequest(cmdZeroes, 0, 5, 16*block, 8*block),
		nbdRequest(cmdFlush, 0, 6, 0, 0),
	}, nil)
	firstWrite := 2*28 + block
	secondWrite := 4*28 + 2*block
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	noLeaks(t)
	for n := 0; n <= len(said); n++ {
		structured := rng.IntN(2) == 0
		disk := attachtest.New(attachtest.Config{
			Size: 64 << 10, Segment: 512, Requests: 2 + rng.IntN(3), Poison: true, Shuffle: true,
			Alone: rng.IntN(2) == 0, Info: attach.Info{MaxRequest: 4 * block, WriteCache: true}, Rand: rand.New(rand.NewPCG(seed, uint64(n))),
		})
		ours, theirs := socketPair(t)
		ended := make(chan error, 1)
		inFlight := 2 + rng.IntN(3)
		go func() { ended <- attach.TransmitNBD(ours, disk, structured, inFlight) }()
		if k := rng.IntN(n + 1); k > 0 { // in two pieces, cut anywhere
			theirs.Write(said[:k])
			theirs.Write(said[k:n])
		} else {
			theirs.Write(said[:n])
		}
		if rng.IntN(2) == 0 {
			theirs.CloseWrite()
			io.Copy(io.Discard, theirs)
		}
		theirs.Close()
		if err := <-ended; err == nil {
			t.Errorf("%d bytes: the server believes that the client said goodbye", n)
		}
		if a := disk.Admitted(); a != 0 {
			t.Fatalf("%d bytes: the front end still holds %d requests", n, a)
		}
		disk.Close()
		content := disk.Content()
		for _, w := range []struct {
			end int
			at  int
			key uint64
		}{{firstWrite, block, 2}, {secondWrite, 2 * block, 4}} {
			got := content[w.at:][:block]
			if n < w.end && !bytes.Equal(got, make([]byte, block)) {
				t.Errorf("%d bytes: a write that was not complete changed the disk", n)
			}
			if n > w.end+block && !bytes.Equal(got, pattern(w.key, block)) && !bytes.Equal(got, make([]byte, block)) {
				t.Errorf("%d bytes: the disk has something nobody wrote", n)
			}
		}
	}
}

// TestNBDVanishesWhileHeld: the client is gone, the disk does not answer.
// Nothing is given back before the disk has finished; then everything is.
func TestNBDVanishesWhileHeld(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20, Poison: true})
	n, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	c := dialNBD(t, socket, true)
	disk.Hold()
	for i := range 8 {
		c.request(cmdRead, 0, uint64(i)*4096, 4096, nil)
		c.request(cmdWrite, 0, uint64(i+8)*4096, 4096, make([]byte, 4096))
	}
	if !disk.WaitInFlight(16, testTimeout) {
		t.Fatal("not in flight")
	}
	c.conn.Close()
	if a := disk.Admitted(); a != 16 {
		t.Errorf("%d requests held while the disk has them, want 16", a)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := n.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while the disk has requests: %v", err)
	}
	disk.Resume()
	if !eventually(func() bool { return disk.Admitted() == 0 }) {
		t.Errorf("%d requests still held", disk.Admitted())
	}
}

// TestNBDDiskCloses: a disk that is closed fails what is in flight, and the
// client is told that it is the server who ends.
func TestNBDDiskCloses(t *testing.T) {
	noLeaks(t)
	disk := attachtest.New(attachtest.Config{Size: 1 << 20})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	c := dialNBD(t, socket, true)
	disk.Hold()
	c.request(cmdRead, 0, 0, 4096, nil)
	if !disk.WaitInFlight(1, testTimeout) {
		t.Fatal("not in flight")
	}
	disk.Close()
	if a := c.answer(nil, 0); a.errno != eSHUTDOWN {
		t.Errorf("in flight: error %d, want ESHUTDOWN", a.errno)
	}
	if a, _ := c.do(cmdRead, 0, 0, 512, nil); a.errno != eSHUTDOWN {
		t.Errorf("afterwards: error %d, want ESHUTDOWN", a.errno)
	}
	if a, _ := c.do(cmdWrite, 0, 0, 512, make([]byte, 512)); a.errno != eSHUTDOWN {
		t.Errorf("write afterwards: error %d, want ESHUTDOWN", a.errno)
	}
}

// TestNBDStall: who promises data and does not send it, or asks for data and
// does not take it, is disconnected, because it keeps what others wait for.
// Who is only idle stays.
func TestNBDStall(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 8 << 20, Requests: 4})
	n, socket := serveNBD(t, attach.NBDConfig{Disk: disk, StallTimeout: 50 * time.Millisecond})
	idle := dialNBD(t, socket, true)

	sender := dialNBD(t, socket, true)
	sender.request(cmdWrite, 0, 0, 64<<10, make([]byte, 1000))
	sender.gone()

	taker := dialNBD(t, socket, true)
	for i := range 32 { // more than socket buffers hold
		taker.request(cmdRead, 0, uint64(i)*(128<<10), 128<<10, nil)
	}
	if !eventually(func() bool { return n.Stats().Broken == 2 }) {
		t.Errorf("%+v", n.Stats())
	}
	if a := disk.Admitted(); a != 0 {
		t.Errorf("%d requests still held", a)
	}
	if a, _ := idle.do(cmdRead, 0, 0, 512, nil); a.errno != eOK {
		t.Errorf("the idle client: error %d", a.errno)
	}
}

// TestNBDResize: what is beyond the new end is refused from then on (H16).
func TestNBDResize(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 2 << 20})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	c := dialNBD(t, socket, true)
	disk.Resize(1 << 20)
	if a, _ := c.do(cmdWrite, 0, 1<<20, 512, make([]byte, 512)); a.errno != eNOSPC {
		t.Errorf("write beyond the new end: error %d", a.errno)
	}
}

// TestI10NBDAllocatesNothing: no allocation per request, of any kind, in the
// steady state, also when it fails.
func TestI10NBDAllocatesNothing(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone=%v", alone), func(t *testing.T) { nbdAllocatesNothing(t, alone) })
	}
}

func nbdAllocatesNothing(t *testing.T, alone bool) {
	disk := newDisk(t, attachtest.Config{
		Alone: alone,
		Size:  1 << 20, Info: attach.Info{MaxRequest: 64 << 10, WriteCache: true, Trim: true},
		Fault: failAt(attach.Read, 512<<10, io.ErrUnexpectedEOF),
	})
	for _, structured := range []bool{false, true} {
		for _, row := range []struct {
			name    string
			command uint16
			flags   uint16
			offset  uint64
			length  int
		}{
			{"read 4 KiB", cmdRead, 0, 0, 4096},
			{"read 64 KiB", cmdRead, 0, 0, 64 << 10},
			{"read in parts", cmdRead, 0, 0, 256 << 10},
			{"read that fails", cmdRead, 0, 512 << 10, 4096},
			{"read that is refused", cmdRead, 0, 1 << 30, 4096},
			{"write 4 KiB", cmdWrite, 0, 0, 4096},
			{"write in parts", cmdWrite, 0, 0, 256 << 10},
			{"write and flush", cmdWrite, fFUA, 0, 4096},
			{"flush", cmdFlush, 0, 0, 0},
			{"trim", cmdTrim, 0, 0, 64 << 10},
			{"zeroes", cmdZeroes, 0, 0, 256 << 10},
		} {
			t.Run(fmt.Sprintf("%s, structured=%v", row.name, structured), func(t *testing.T) {
				ours, theirs := socketPair(t)
				ended := make(chan error, 1)
				go func() { ended <- attach.TransmitNBD(ours, disk, structured, 16) }()
				said := nbdRequest(row.command, row.flags, 77, row.offset, uint32(row.length))
				if row.command == cmdWrite {
					said = append(said, make([]byte, row.length)...)
				}
				reply := make([]byte, 512<<10)
				data := 0
				if row.command == cmdRead {
					data = row.length
				}
				roundTrip := func() {
					if _, err := theirs.Write(said); err != nil {
						t.Fatal(err)
					}
					if err := skipReply(theirs, reply, data); err != nil {
						t.Fatal(err)
					}
				}
				roundTrip()
				if n := testing.AllocsPerRun(100, roundTrip); n != 0 {
					t.Errorf("%v allocations for each", n)
				}
				theirs.Close()
				<-ended
			})
		}
	}
}

// skipReply reads one whole reply, which if it is a simple one has n bytes of
// data, without allocating.
func skipReply(conn io.Reader, buf []byte, n int) error {
	for {
		if _, err := io.ReadFull(conn, buf[:16]); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(buf) == 0x67446698 {
			if binary.BigEndian.Uint32(buf[4:]) != 0 {
				return nil
			}
			_, err := io.ReadFull(conn, buf[:n])
			return err
		}
		done := binary.BigEndian.Uint16(buf[4:])&1 != 0
		if _, err := io.ReadFull(conn, buf[:4]); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buf[:binary.BigEndian.Uint32(buf)]); err != nil {
			return err
		}
		if done {
			return nil
		}
	}
}

// FuzzNBDTransmission: whatever comes over the socket, the server neither
// crashes nor keeps anything, and a request behind it that is well-formed, if
// the stream is still in step, is answered.
func FuzzNBDTransmission(f *testing.F) {
	f.Add(nbdRequest(cmdRead, 0, 1, 0, 4096), true)
	f.Add(append(nbdRequest(cmdWrite, fFUA, 2, 512, 512), make([]byte, 512)...), false)
	f.Add(append(nbdRequest(cmdZeroes, fNoHole, 3, 0, 1<<16), nbdRequest(cmdTrim, 0, 4, 0, 1<<20)...), true)
	f.Add(append(nbdRequest(cmdFlush, 0, 5, 0, 0), nbdRequest(cmdDisc, 0, 6, 0, 0)...), false)
	f.Add(append(nbdRequest(cmdRead, 0, 7, 0, 65536), nbdRequest(99, 0xffff, 8, 1<<63, 1<<31)...), false)
	f.Fuzz(func(t *testing.T, said []byte, structured bool) {
		transmitWhatever(t, said, structured, false)
		transmitWhatever(t, said, structured, true)
	})
}

func transmitWhatever(t *testing.T, said []byte, structured, alone bool) {
	disk := attachtest.New(attachtest.Config{
		Size: 64 << 10, Segment: 1024, Requests: 2, Poison: true, Alone: alone,
		Info: attach.Info{MaxRequest: 8 << 10, Trim: true, TrimZeroes: true, WriteCache: true},
	})
	defer disk.Close()
	ours, theirs := socketPair(t)
	defer theirs.Close()
	ended := make(chan error, 1)
	go func() { ended <- attach.TransmitNBD(ours, disk, structured, 3) }()
	saidAll := make(chan struct{})
	go func() {
		defer close(saidAll)
		theirs.Write(said)
		theirs.CloseWrite()
	}()
	checkReplies(t, theirs, structured)
	<-ended
	<-saidAll // what was said is the fuzzer's, who will change it
	if n := disk.Admitted(); n != 0 {
		t.Errorf("%d requests are not given back", n)
	}
}

// checkReplies reads to the end. With structured replies a stream of replies
// can be understood without knowing the requests.
func checkReplies(t *testing.T, conn *net.UnixConn, structured bool) {
	t.Helper()
	if !structured {
		io.Copy(io.Discard, conn)
		return
	}
	c := &nbdClient{t: t, conn: conn}
	for {
		_, err := c.receive(func(uint64) int { return 0 })
		if errors.Is(err, io.EOF) || err != nil && isReset(err) {
			return
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return // the server broke the connection in the middle of a reply
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}
