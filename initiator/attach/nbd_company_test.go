package attach_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// TestNBDRepliesThatFindNoRoom: a client that does not read until it has asked for
// far more than a socket holds still gets all of it, and what it asks meanwhile.
func TestNBDRepliesThatFindNoRoom(t *testing.T) {
	noLeaks(t)
	const length, requests = 128 << 10, 64
	disk := newDisk(t, attachtest.Config{Size: length * requests, Poison: true})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	c := dialNBD(t, socket, true)
	want := map[uint64][]byte{}
	at := map[uint64]uint64{}
	for i := range uint64(requests) {
		data := pattern(i, length)
		if a, _ := c.do(cmdWrite, 0, i*length, length, data); a.errno != eOK {
			t.Fatalf("write %d: error %d", i, a.errno)
		}
	}
	for i := range uint64(requests) {
		cookie := c.request(cmdRead, 0, i*length, length, nil)
		want[cookie], at[cookie] = pattern(i, length), i*length
	}
	c.collect(want, at)
	if a, got := c.do(cmdRead, 0, 0, 4096, nil); a.errno != eOK || !bytes.Equal(got, pattern(0, length)[:4096]) {
		t.Errorf("error %d, or other data, after that", a.errno)
	}
}

// TestNBDWriteInPieces: a write whose data comes byte by byte is written when the
// last of it has come, while another client is served.
func TestNBDWriteInPieces(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20, Poison: true})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	slow, other := dialNBD(t, socket, true), dialNBD(t, socket, true)
	data := pattern(3, 512)
	said := append(nbdRequest(cmdWrite, 0, 77, 4096, 512), data...)
	for i := range said {
		slow.send(said[i : i+1])
		if i%64 == 0 {
			if a, _ := other.do(cmdRead, 0, 0, 4096, nil); a.errno != eOK {
				t.Fatalf("the other client's read: error %d", a.errno)
			}
			if n := disk.Completed(attach.Write); n != 0 {
				t.Fatalf("written after %d of %d bytes", i+1, len(said))
			}
		}
	}
	if a := slow.answer(nil, 0); a.cookie != 77 || a.errno != eOK {
		t.Errorf("the write ended with %+v", a)
	}
	if !bytes.Equal(disk.Content()[4096:][:512], data) {
		t.Error("the disk does not hold what was written")
	}
}

// TestNBDWritesReadAhead: writes of many lengths that come as one stream, cut anywhere,
// among requests without data, are written as they were meant.
func TestNBDWritesReadAhead(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 8 << 20, Poison: true})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})
	c := dialNBD(t, socket, true)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	content := make([]byte, 8<<20)
	lengths := []int{512, 4096, 4096, 4096, 8192, 8704, 64 << 10, 200 << 10}
	for range 8 {
		var stream []byte
		want, at := map[uint64][]byte{}, map[uint64]uint64{}
		for offset := 0; len(want) < 60; {
			n := lengths[rng.IntN(len(lengths))]
			if offset+n > len(content) {
				break
			}
			piece := content[offset:][:n]
			c.cookie++
			switch rng.IntN(10) {
			case 0:
				clear(piece)
				stream = append(stream, nbdRequest(cmdZeroes, 0, c.cookie, uint64(offset), uint32(n))...)
				want[c.cookie] = nil
			case 1:
				stream = append(stream, nbdRequest(cmdRead, 0, c.cookie, uint64(offset), uint32(n))...)
				want[c.cookie], at[c.cookie] = bytes.Clone(piece), uint64(offset)
			default:
				copy(piece, pattern(rng.Uint64(), n))
				stream = append(stream, nbdRequest(cmdWrite, uint16(rng.IntN(8)/7), c.cookie, uint64(offset), uint32(n))...)
				stream = append(stream, piece...)
				want[c.cookie] = nil
			}
			offset += n
		}
		sent := make(chan struct{})
		go func() { // or each side would wait for the other to read
			defer close(sent)
			for cut := 0; len(stream) > 0; stream = stream[cut:] {
				cut = min(1+rng.IntN(100<<10), len(stream))
				c.send(stream[:cut])
			}
		}()
		c.collect(want, at)
		<-sent
	}
	if got := disk.Content(); !bytes.Equal(got, content) {
		t.Error("the disk does not hold what was written")
	}
}
