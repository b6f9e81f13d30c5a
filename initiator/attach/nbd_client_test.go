package attach_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// The numbers of the protocol, a second time on purpose: a test that took them
// from the code under test could not find a wrong one.
const (
	optMagic   = 0x49484156454F5054
	replyMagic = 0x3e889045565a9

	cmdRead, cmdWrite, cmdDisc, cmdFlush, cmdTrim, cmdCache, cmdZeroes = 0, 1, 2, 3, 4, 5, 6

	fFUA, fNoHole, fDF, fFastZero = 1, 2, 4, 16

	eOK, ePERM, eIO, eINVAL, eNOSPC, eOVERFLOW, eNOTSUP, eSHUTDOWN = 0, 1, 5, 22, 28, 75, 95, 108
)

const testTimeout = 20 * time.Second

// noLeaks fails the test if it leaves goroutines behind. Call it first: what
// is registered first is cleaned up last.
func noLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if !eventually(func() bool { return runtime.NumGoroutine() <= before }) {
			buf := make([]byte, 64<<10)
			t.Errorf("goroutines: %d before, %d after\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	})
}

// eventually waits until holds is true.
func eventually(holds func() bool) bool {
	for deadline := time.Now().Add(testTimeout); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// newDisk is a disk in memory that must have everything back in the end.
func newDisk(t testing.TB, cfg attachtest.Config) *attachtest.Memory {
	t.Helper()
	m := attachtest.New(cfg)
	t.Cleanup(func() {
		if !eventually(func() bool { return m.Admitted() == 0 }) {
			t.Errorf("the front end still holds %d requests of the disk", m.Admitted())
			return // Close would wait for them
		}
		m.Close()
	})
	return m
}

// serveNBD serves disk on a socket in a directory of the test's own.
func serveNBD(t testing.TB, cfg attach.NBDConfig) (*attach.NBD, string) {
	t.Helper()
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(t.TempDir(), "nbd")
	}
	n, err := attach.ListenNBD(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return n, cfg.Socket
}

// An nbdClient is a client that does exactly what it is told, right or wrong.
type nbdClient struct {
	t          testing.TB
	conn       *net.UnixConn
	structured bool
	size       uint64
	flags      uint16
	cookie     uint64
}

// dialNBD connects and enters the transmission phase.
func dialNBD(t testing.TB, socket string, structured bool) *nbdClient {
	t.Helper()
	c := connectNBD(t, socket)
	c.structured = structured
	var hello [18]byte
	c.recv(hello[:])
	c.send(be32(3))
	if structured {
		c.option(8, nil)
		if kind, _ := c.optionReply(); kind != 1 {
			t.Fatalf("structured replies: answer %#x", kind)
		}
	}
	c.option(7, append(append(be32(0), be16(1)...), be16(3)...))
	for {
		kind, data := c.optionReply()
		if kind == 1 {
			return c
		}
		if kind != 3 {
			t.Fatalf("GO: answer %#x: %s", kind, data)
		}
		if binary.BigEndian.Uint16(data) == 0 {
			c.size, c.flags = binary.BigEndian.Uint64(data[2:]), binary.BigEndian.Uint16(data[10:])
		}
	}
}

// connectNBD only connects.
func connectNBD(t testing.TB, socket string) *nbdClient {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testTimeout))
	return &nbdClient{t: t, conn: conn.(*net.UnixConn)}
}

func (c *nbdClient) send(b ...[]byte) {
	c.t.Helper()
	if _, err := c.conn.Write(bytes.Join(b, nil)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *nbdClient) recv(b []byte) {
	c.t.Helper()
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
}

func (c *nbdClient) option(option uint32, data []byte) {
	c.t.Helper()
	c.send(nbdOption(option, data))
}

func (c *nbdClient) optionReply() (kind uint32, data []byte) {
	c.t.Helper()
	var h [20]byte
	c.recv(h[:])
	if m := binary.BigEndian.Uint64(h[:]); m != replyMagic {
		c.t.Fatalf("option reply with magic %#x", m)
	}
	data = make([]byte, binary.BigEndian.Uint32(h[16:]))
	c.recv(data)
	return binary.BigEndian.Uint32(h[12:]), data
}

// request sends a request and returns its cookie.
func (c *nbdClient) request(command, flags uint16, offset uint64, length uint32, payload []byte) uint64 {
	c.t.Helper()
	c.cookie++
	c.send(nbdRequest(command, flags, c.cookie, offset, length), payload)
	return c.cookie
}

// An answer is a reply, put together from its chunks.
type answer struct {
	cookie uint64
	errno  uint32
	chunks int
	got    int // bytes of data
}

// answer receives replies until one is complete, and returns it. into says
// where the data of a read goes, whose offset is at.
func (c *nbdClient) answer(into []byte, at uint64) answer {
	c.t.Helper()
	var a answer
	for {
		done, err := c.chunk(&a, into, at)
		if err != nil {
			c.t.Fatal(err)
		}
		if done {
			return a
		}
	}
}

func (c *nbdClient) chunk(a *answer, into []byte, at uint64) (done bool, err error) {
	p, err := c.receive(func(uint64) int { return len(into) })
	if err != nil {
		return false, err
	}
	if a.cookie != 0 && a.cookie != p.cookie {
		return false, fmt.Errorf("chunk of %d among those of %d", p.cookie, a.cookie)
	}
	a.cookie = p.cookie
	a.chunks++
	if p.errno != 0 {
		a.errno = p.errno
	}
	from := uint64(0)
	if p.hasOffset {
		from = p.offset - at
	}
	if from > uint64(len(into)) || copy(into[from:], p.data) != len(p.data) {
		return false, fmt.Errorf("data at %d outside the request", from)
	}
	a.got += len(p.data)
	return p.done, nil
}

// A piece is a simple reply or one chunk.
type piece struct {
	cookie    uint64
	errno     uint32
	offset    uint64
	hasOffset bool
	data      []byte
	done      bool
}

// receive reads one piece. length is how much data a simple reply to cookie
// has: the reply does not say.
func (c *nbdClient) receive(length func(cookie uint64) int) (p piece, err error) {
	var h [20]byte
	if _, err := io.ReadFull(c.conn, h[:16]); err != nil {
		return p, err
	}
	p.cookie = binary.BigEndian.Uint64(h[8:])
	switch m := binary.BigEndian.Uint32(h[:]); m {
	case 0x67446698:
		p.done, p.errno = true, binary.BigEndian.Uint32(h[4:])
		if p.errno == 0 {
			p.data = make([]byte, length(p.cookie))
		}
		_, err = io.ReadFull(c.conn, p.data)
		return p, err
	case 0x668e33ef:
	default:
		return p, fmt.Errorf("reply with magic %#x", m)
	}
	if _, err := io.ReadFull(c.conn, h[16:]); err != nil {
		return p, err
	}
	flags, kind := binary.BigEndian.Uint16(h[4:]), binary.BigEndian.Uint16(h[6:])
	p.done = flags&1 != 0
	body := make([]byte, binary.BigEndian.Uint32(h[16:]))
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return p, err
	}
	switch kind {
	case 0:
		if len(body) != 0 || !p.done {
			return p, errors.New("NONE chunk with data or without DONE")
		}
	case 1:
		p.offset, p.hasOffset, p.data = binary.BigEndian.Uint64(body), true, body[8:]
	case 1<<15 | 1:
		p.errno = binary.BigEndian.Uint32(body)
		if int(binary.BigEndian.Uint16(body[4:])) != len(body)-6 {
			return p, errors.New("error message of a wrong length")
		}
	default:
		return p, fmt.Errorf("chunk of type %#x", kind)
	}
	return p, nil
}

// do sends one request and waits for its answer.
func (c *nbdClient) do(command, flags uint16, offset uint64, length uint32, payload []byte) (answer, []byte) {
	c.t.Helper()
	cookie := c.request(command, flags, offset, length, payload)
	var into []byte
	if command == cmdRead {
		into = make([]byte, length)
	}
	a := c.answer(into, offset)
	if a.cookie != cookie {
		c.t.Fatalf("answer to %d instead of %d", a.cookie, cookie)
	}
	return a, into
}

// gone waits until the server has closed the connection.
func (c *nbdClient) gone() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.conn); err != nil && !errors.Is(err, io.EOF) && !isReset(err) {
		c.t.Fatalf("the server did not close the connection: %v", err)
	}
}

func nbdRequest(command, flags uint16, cookie, offset uint64, length uint32) []byte {
	b := be32(0x25609513)
	b = append(b, be16(flags)...)
	b = append(b, be16(command)...)
	b = append(b, be64(cookie)...)
	b = append(b, be64(offset)...)
	return append(b, be32(length)...)
}

func nbdOption(option uint32, data []byte) []byte {
	b := be64(optMagic)
	b = append(b, be32(option)...)
	b = append(b, be32(uint32(len(data)))...)
	return append(b, data...)
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
