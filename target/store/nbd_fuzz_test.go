package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"
)

// A script is a server that says what it was given, whatever it hears.
type script struct{ *bytes.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }

func greeting(flags uint16) []byte {
	b := binary.BigEndian.AppendUint64(nil, nbdMagic)
	b = binary.BigEndian.AppendUint64(b, nbdOptionMagic)
	return binary.BigEndian.AppendUint16(b, flags)
}

func optReply(kind uint32, data ...byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, nbdOptReplyMagic)
	b = binary.BigEndian.AppendUint32(b, nbdOptGo)
	b = binary.BigEndian.AppendUint32(b, kind)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
}

func exportInfo(size uint64, flags uint16) []byte {
	return optReply(nbdRepInfo, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64([]byte{0, 0}, size), flags)...)
}

func blockInfo(minimum, preferred, maximum uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 3}, minimum)
	b = binary.BigEndian.AppendUint32(b, preferred)
	return optReply(nbdRepInfo, binary.BigEndian.AppendUint32(b, maximum)...)
}

func TestNegotiateNBD(t *testing.T) {
	hello, ack := greeting(3), optReply(nbdRepAck)
	good := exportInfo(1<<20, 0x6d)
	for _, row := range []struct {
		name string
		says [][]byte
		want string // of the error; empty: none
	}{
		{"plain", [][]byte{hello, good, ack}, ""},
		{"without NO_ZEROES", [][]byte{greeting(1), good, ack}, ""},
		{"block sizes first", [][]byte{hello, blockInfo(1, 4096, 1<<25), good, ack}, ""},
		{"an unknown information", [][]byte{hello, optReply(nbdRepInfo, 0, 99, 1), good, ack}, ""},
		{"not NBD", [][]byte{bytes.Repeat([]byte("HTTP"), 9)}, "no NBD server"},
		{"old negotiation", [][]byte{greeting(0)}, "fixed newstyle"},
		{"no export information", [][]byte{hello, ack}, "out of place"},
		{"information without a type", [][]byte{hello, optReply(nbdRepInfo, 0)}, "without a type"},
		{"an export of 9 bytes", [][]byte{hello, optReply(nbdRepInfo, make([]byte, 11)...)}, "9 bytes"},
		{"block sizes of 11 bytes", [][]byte{hello, optReply(nbdRepInfo, append([]byte{0, 3}, make([]byte, 11)...)...)}, "11 bytes"},
		{"a negative size", [][]byte{hello, exportInfo(math.MaxUint64, 1), ack}, "size"},
		{"large blocks", [][]byte{hello, blockInfo(4096, 4096, 4096)}, "blocksize"},
		{"small payloads", [][]byte{hello, good, blockInfo(1, 1, 256), ack}, "256"},
		{"another option's reply", [][]byte{hello, append(binary.BigEndian.AppendUint64(nil, nbdOptReplyMagic), make([]byte, 12)...)}, "not asked"},
		{"a reply of 4 GiB", [][]byte{hello, optReply(3)[:16], {255, 255, 255, 255}}, "not asked"},
		{"TLS", [][]byte{hello, optReply(nbdRepErrTLS, []byte("come encrypted")...)}, "come encrypted"},
		{"unknown", [][]byte{hello, optReply(nbdRepErrUnknown)}, "nbdinfo"},
		{"unsupported", [][]byte{hello, optReply(nbdRepErrUnsup)}, "NBD_OPT_GO"},
		{"policy", [][]byte{hello, optReply(nbdRepErrPolicy)}, "let us in"},
		{"shutdown", [][]byte{hello, optReply(nbdRepErrShutdown)}, "shutting down"},
		{"blocks required", [][]byte{hello, optReply(nbdRepErrBlocks)}, "blocksize"},
		{"another error", [][]byte{hello, optReply(nbdOptReplyError | 77)}, "error 77"},
	} {
		t.Run(row.name, func(t *testing.T) {
			says := bytes.Join(row.says, nil)
			e, err := negotiateNBD(script{bytes.NewReader(says)}, "disk", true)
			switch {
			case row.want == "" && (err != nil || e.size != 1<<20 || e.flags != 0x6d):
				t.Errorf("%+v, %v", e, err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%v, want %q in it", err, row.want)
			}
			// Every truncation is an error.
			for n := range says {
				if _, err := negotiateNBD(script{bytes.NewReader(says[:n])}, "disk", true); err == nil {
					t.Errorf("accepted when cut to %d of %d bytes", n, len(says))
				}
			}
		})
	}
}

// FuzzNBDNegotiate: whatever a server says, what is accepted can be a disk.
func FuzzNBDNegotiate(f *testing.F) {
	f.Add(bytes.Join([][]byte{greeting(3), exportInfo(1<<20, 0x6d), blockInfo(1, 4096, 1<<25), optReply(nbdRepAck)}, nil))
	f.Add(bytes.Join([][]byte{greeting(3), optReply(nbdRepErrUnknown, []byte("no")...)}, nil))
	f.Fuzz(func(t *testing.T, says []byte) {
		e, err := negotiateNBD(script{bytes.NewReader(says)}, "disk", true)
		if err != nil {
			return
		}
		if e.size > math.MaxInt64 || e.flags&nbdHasFlags == 0 || e.minimum > SectorSize || e.maximum != 0 && e.maximum < SectorSize {
			t.Errorf("accepted %+v", e)
		}
	})
}

// FuzzNBDReplies: whatever a server answers, each request ends once, a read that
// succeeded has what the server sent, and nothing panics or hangs.
func FuzzNBDReplies(f *testing.F) {
	ok := func(cookie uint64) []byte {
		b := binary.BigEndian.AppendUint32(nil, nbdSimpleMagic)
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 0), cookie)
	}
	first := uint64(1) << 32
	f.Add(bytes.Join([][]byte{ok(first), make([]byte, 512), ok(first | 1)}, nil))
	f.Add(bytes.Join([][]byte{ok(first | 1), ok(first), make([]byte, 512), ok(first)}, nil))
	f.Add(ok(first | 7))
	f.Add(append(ok(first), 1, 2, 3))
	f.Add(bytes.Join([][]byte{ok(first | 2), ok(first | 3), ok(first | 1)}, nil))
	f.Add(bytes.Join([][]byte{ok(first | 3), ok(first | 2), ok(first | 1)}, nil))
	f.Fuzz(func(t *testing.T, says []byte) {
		n := &NBD{cfg: NBDConfig{Patience: -1, Durable: true}, use: nbdSendFlush | nbdSendFUA, up: true, wake: make(chan struct{}, 1)}
		// A read, a write with FUA, and one that waits for a flush, which is
		// the last slot.
		commands := []uint16{nbdCmdRead, nbdCmdWrite, nbdCmdWrite}
		n.makeSlots(len(commands))
		for i, c := range commands {
			n.slots[i].command, n.slots[i].data, n.slots[i].length = c, make([]byte, 512), 512
			if err := n.submit(&n.slots[i]); err != nil {
				t.Fatal(err)
			}
		}
		n.closing = make(chan struct{})
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs) // ends when theirs is closed
		ours.SetDeadline(time.Now().Add(time.Minute))
		go func() { // ends when all is said, or nobody listens
			theirs.Write(says)
			theirs.Close()
		}()
		if err := n.talk(ours); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("talk ended with %v", err)
		}
		n.broke(io.EOF)
		flushed := bytes.Contains(says, ok(first|3))
		for i := range commands {
			s := &n.slots[i]
			done := len(s.done) == 1
			if done == (s.state == nbdQueued) {
				t.Fatalf("request %d: done %v, in state %d", i, done, s.state)
			}
			if !done {
				continue
			}
			switch err := <-s.done; {
			case err == nil && i == 0 && !bytes.Contains(says, s.data):
				t.Error("a read has what the server did not send")
			case err == nil && i == 2 && !flushed:
				t.Error("a write ended without the flush that it waited for")
			}
		}
	})
}

// FuzzNBDURI: what is accepted can be dialed, and named in a request.
func FuzzNBDURI(f *testing.F) {
	for _, s := range []string{"nbd://host/x", "nbd://[::1]:10810/a%20b", "nbd+unix:///?socket=/run/x", "nbds://h", "nbd:unix:/x", "mem:64M"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		a, err := parseNBD(uri)
		if err != nil {
			return
		}
		if a.network != "unix" && a.network != "tcp" || a.address == "" || len(a.export) > nbdMaxName {
			t.Errorf("%q is %+v", uri, a)
		}
	})
}
