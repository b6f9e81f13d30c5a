package attach

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNBDKernelMessages: what is sent to the kernel's client, byte by byte:
// attributes with length and kind, padded to four bytes (netlink(7)).
func TestNBDKernelMessages(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes below are a little-endian machine's: run it on one")
	}
	for _, row := range []struct {
		name string
		nbdSetting
		want string
	}{
		{"disconnect", nbdSetting{index: 3}, "0800 0100 03000000"},
		{"the kernel chooses", nbdSetting{index: nbdAny, size: 1 << 20}, "0c00 0200 0000100000000000"},
		{"everything", nbdSetting{index: 0, socket: 9, size: 4096, blockSize: 512, flags: 0x16d,
			reconnect: 300 * time.Second, backend: "aoe e1.1"},
			"0800 0100 00000000" + "0c00 0200 0010000000000000" + "0c00 0300 0002000000000000" +
				"0c00 0500 6d01000000000000" + "0c00 0800 2c01000000000000" +
				"0d00 0a00 616f652065312e31 00 000000" + // a string ends with a zero
				"1000 0780 0c00 0180 0800 0100 09000000"}, // nested twice
	} {
		b, err := row.encode()
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if got, want := hex.EncodeToString(b), strings.ReplaceAll(row.want, " ", ""); got != want {
			t.Errorf("%s:\n%s, want\n%s", row.name, got, want)
		}
	}
}

// TestNBDKernelReply: the device's number, or why there is none.
func TestNBDKernelReply(t *testing.T) {
	b, err := nbdSetting{index: 11, size: 4096}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if index, err := parseNBDIndex(b); index != 11 || err != nil {
		t.Errorf("%d, %v", index, err)
	}
	for n := range b[:8] {
		if index, err := parseNBDIndex(b[:n]); err == nil {
			t.Errorf("%d bytes of a reply are device %d", n, index)
		}
	}
}

// TestNBDKernelSocketHoldsAllThatIsInFlight: the kernel's end of the pair takes as
// many requests as there can be, a page at a time as its client sends them, without
// waiting for us to read one.
func TestNBDKernelSocketHoldsAllThatIsInFlight(t *testing.T) {
	const inFlight, maxRequest = 16, 32 << 10
	d := &nbdKernelDevice{cfg: NBDKernelConfig{InFlight: inFlight}, info: Info{MaxRequest: maxRequest}}
	transmission, theirs, err := d.pair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	defer transmission.stream.conn.(nbdSocket).free()
	if err := unix.SetNonblock(theirs, true); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, nbdPage)
	for i := range inFlight {
		for _, b := range append([][]byte{page[:nbdRequestLen]}, slices.Repeat([][]byte{page}, maxRequest/nbdPage)...) {
			if n, err := unix.Write(theirs, b); n != len(b) || err != nil {
				t.Fatalf("request %d: %d of %d bytes, %v: it would wait for room", i, n, len(b), err)
			}
		}
	}
}

// TestNBDKernelFlags: a device that has nothing to flush is not told to.
func TestNBDKernelFlags(t *testing.T) {
	for _, row := range []struct {
		name string
		info Info
		want uint16
	}{
		{"write-through", Info{}, nbdHasFlags | nbdSendWriteZeroes | nbdCanMultiConn},
		{"write-back", Info{WriteCache: true}, nbdHasFlags | nbdSendFlush | nbdSendFUA | nbdSendWriteZeroes | nbdCanMultiConn},
		{"with trim", Info{Trim: true, TrimZeroes: true}, nbdHasFlags | nbdSendTrim | nbdSendWriteZeroes | nbdCanMultiConn},
		{"read-only", Info{ReadOnly: true, Trim: true}, nbdHasFlags | nbdReadOnly | nbdCanMultiConn},
	} {
		if got := nbdKernelFlags(row.info); got != row.want {
			t.Errorf("%s: flags %#x, want %#x", row.name, got, row.want)
		}
	}
}

// TestBlockingStreamEnds: a call that blocks its thread ends when the stream is
// closed, and the descriptor is ours until free.
func TestBlockingStreamEnds(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	s := newBlockingStream(fds[0])
	conn := s.conn.(*blockingConn)
	if conn.hungUp() {
		t.Error("hung up, with the other end open")
	}
	var began atomic.Bool
	ended := make(chan error)
	go func() {
		began.Store(true)
		_, err := s.read(make([]byte, 16))
		ended <- err
	}()
	if _, err := unix.Write(fds[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || !began.Load() {
		t.Fatalf("read: %v", err)
	}
	go func() {
		_, err := s.read(make([]byte, 16))
		ended <- err
	}()
	s.close()
	s.close() // once more does nothing
	if err := <-ended; err == nil {
		t.Error("read went on after close")
	}
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0); err != nil {
		t.Errorf("close gave the descriptor back: %v", err)
	}
	conn.free()
	if err := s.writeAll([][]byte{make([]byte, 8)}, 0); err == nil {
		t.Error("wrote after free")
	}
}

// TestNBDKernelIsFoundByItsBackend: where no such device is, none is found.
func TestNBDKernelIsFoundByItsBackend(t *testing.T) {
	index, found, err := findNBD(nbdBackend(Info{Name: "e1.1", Serial: "nobody has this"}))
	if found || err != nil {
		t.Errorf("found %d, %v", index, err)
	}
}
