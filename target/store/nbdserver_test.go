package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"aoe/target/store"
)

// The numbers of the protocol, a second time on purpose: a test that took them
// from the code under test could not find a wrong one.
const (
	srvFlush, srvFUA, srvTrim, srvZeroes, srvReadOnly = 4, 8, 32, 64, 2
	srvAll                                            = 1 | srvFlush | srvFUA | srvTrim | srvZeroes
)

// An nbdServer is a small NBD server over a store, which can be made to fail.
// It carries out one request of a connection after the other and allocates
// nothing for them.
type nbdServer struct {
	t *testing.T
	l net.Listener

	mu      sync.Mutex
	store   store.Store
	flags   uint16
	minimum uint32 // block size; 0: not told
	size    int64  // told; 0: the store's
	conns   map[net.Conn]bool
	seen    []seenRequest // all changes and flushes, in order
	// hook decides on each request, if set: false breaks the connection
	// without an answer. It is called with the connection and may send on it.
	hook    func(c net.Conn, r seenRequest) bool
	record  bool
	hold    int    // answers that are kept back until there are so many, and sent last first
	refuse  uint32 // the error that every request is answered with; 0: what it deserves
	serving sync.WaitGroup
}

type seenRequest struct {
	command, flags uint16
	cookie, off    uint64
	length         uint32
}

func newNBDServer(t *testing.T, network string, s store.Store) (*nbdServer, string) {
	t.Helper()
	at, uri := "127.0.0.1:0", ""
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "nbd")
		uri = "nbd+unix:///disk?socket=" + at
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	if uri == "" {
		uri = "nbd://" + l.Addr().String() + "/disk"
	}
	v := &nbdServer{t: t, l: l, store: s, flags: srvAll, conns: map[net.Conn]bool{}}
	v.serving.Go(v.accept)
	t.Cleanup(func() {
		l.Close()
		v.breakAll()
		v.serving.Wait()
	})
	return v, uri
}

func (v *nbdServer) accept() {
	for {
		c, err := v.l.Accept()
		if err != nil {
			return
		}
		v.mu.Lock()
		v.conns[c] = true
		v.mu.Unlock()
		v.serving.Go(func() {
			v.serve(c)
			c.Close()
			v.mu.Lock()
			delete(v.conns, c)
			v.mu.Unlock()
		})
	}
}

// set changes the server under its lock.
func (v *nbdServer) set(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

// breakAll closes all connections.
func (v *nbdServer) breakAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.conns {
		c.Close()
	}
}

func (v *nbdServer) requests() []seenRequest {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]seenRequest(nil), v.seen...)
}

func (v *nbdServer) negotiate(c net.Conn) bool {
	hello := binary.BigEndian.AppendUint64(nil, 0x4e42444d41474943)
	hello = binary.BigEndian.AppendUint64(hello, 0x49484156454f5054)
	c.Write(binary.BigEndian.AppendUint16(hello, 3))
	head := make([]byte, 4+16)
	if _, err := io.ReadFull(c, head); err != nil {
		return false
	}
	option := binary.BigEndian.Uint32(head[12:])
	data := make([]byte, binary.BigEndian.Uint32(head[16:]))
	if _, err := io.ReadFull(c, data); err != nil || option != 7 {
		return false
	}
	reply := func(kind uint32, data []byte) {
		b := binary.BigEndian.AppendUint64(nil, 0x3e889045565a9)
		b = binary.BigEndian.AppendUint32(b, option)
		b = binary.BigEndian.AppendUint32(b, kind)
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		c.Write(append(b, data...))
	}
	name := string(data[4 : 4+binary.BigEndian.Uint32(data)])
	asked := binary.BigEndian.Uint16(data[4+len(name):]) > 0
	if name != "disk" {
		reply(1<<31|6, []byte("no such thing"))
		return false
	}
	v.mu.Lock()
	flags, minimum, size := v.flags, v.minimum, v.size
	if size == 0 {
		size, _ = v.store.Size()
	}
	v.mu.Unlock()
	info := binary.BigEndian.AppendUint16(nil, 0)
	info = binary.BigEndian.AppendUint64(info, uint64(size))
	reply(3, binary.BigEndian.AppendUint16(info, flags))
	reply(3, append([]byte{0, 1}, "a name"...)) // was not asked for
	if minimum > 0 && asked {
		info = binary.BigEndian.AppendUint16(nil, 3)
		info = binary.BigEndian.AppendUint32(info, minimum)
		info = binary.BigEndian.AppendUint32(info, 4096)
		reply(3, binary.BigEndian.AppendUint32(info, 64<<10))
	}
	reply(1, nil)
	return true
}

func (v *nbdServer) serve(c net.Conn) {
	if !v.negotiate(c) {
		return
	}
	head, buf := make([]byte, 28), make([]byte, 16+1<<20)
	var held [][]byte
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		r := seenRequest{
			flags: binary.BigEndian.Uint16(head[4:]), command: binary.BigEndian.Uint16(head[6:]),
			cookie: binary.BigEndian.Uint64(head[8:]), off: binary.BigEndian.Uint64(head[16:]), length: binary.BigEndian.Uint32(head[24:]),
		}
		data := buf[16 : 16+r.length]
		if r.command == 1 {
			if _, err := io.ReadFull(c, data); err != nil {
				return
			}
		}
		v.mu.Lock()
		s, hook, hold, refuse := v.store, v.hook, v.hold, v.refuse
		if v.record && r.command != 0 {
			v.seen = append(v.seen, r)
		}
		v.mu.Unlock()
		if r.command == 2 || hook != nil && !hook(c, r) {
			return
		}
		err := carryOut(s, r, data)
		errno := errnoOf(err)
		if refuse != 0 {
			errno = refuse
		}
		n := 16
		if r.command == 0 && errno == 0 {
			n += int(r.length)
		}
		binary.BigEndian.PutUint32(buf, 0x67446698)
		binary.BigEndian.PutUint32(buf[4:], errno)
		binary.BigEndian.PutUint64(buf[8:], r.cookie)
		if hold == 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
			continue
		}
		if held = append(held, bytes.Clone(buf[:n])); len(held) == hold {
			slices.Reverse(held)
			c.Write(bytes.Join(held, nil))
			held = nil
		}
	}
}

func carryOut(s store.Store, r seenRequest, data []byte) (err error) {
	switch r.command {
	case 0:
		_, err = s.ReadAt(data, int64(r.off))
	case 1:
		_, err = s.WriteAt(data, int64(r.off))
	case 4, 6:
		err = s.Trim(int64(r.off), int64(r.length))
	}
	if err == nil && (r.command == 3 || r.flags&1 != 0) {
		err = s.Sync()
	}
	return err
}

func errnoOf(err error) uint32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, store.ErrRange):
		return 28
	}
	return 5
}
