package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link/linktest"
)

// TestBareServesTheFile: what is written to a bare target is in the file, and is
// read back; what is neither a read nor a write is not answered.
func TestBareServesTheFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	macA, macB := frame.MAC{2, 0, 0, 0, 0, 1}, frame.MAC{2, 0, 0, 0, 0, 2}
	sw := linktest.NewSwitch(linktest.Config{MTU: 9000})
	a, b := sw.Port(macA), sw.Port(macB)
	ended := make(chan error, 1)
	go func() { ended <- answerBare(b, f) }()

	data := bytes.Repeat([]byte("0123456789abcdef"), 8192/16)
	ask := func(tag uint32, op frame.Opcode, data []byte) []byte {
		h := frame.Header{Dst: macB, Src: macA, Addr: frame.Addr{Shelf: 1, Slot: 1}, Command: aoe.CommandIssueATACommand, Tag: tag}
		q := append(frame.NewATA(op, 24, 16).Append(h.Append(nil)), data...)
		if _, err := a.Send([][]byte{frame.Pad(q)}); err != nil {
			t.Fatal(err)
		}
		bufs := [][]byte{make([]byte, frameRoom)}
		n, err := a.Recv(bufs, 10*time.Second)
		if err != nil || n != 1 {
			t.Fatalf("%v: %d answers, %v", op, n, err)
		}
		h, arg, err := frame.Parse(bufs[0])
		if err != nil || !h.IsResponse() || h.Tag != tag {
			t.Fatalf("%v: answer %+v, %v", op, h, err)
		}
		result, rest, err := frame.ParseATA(arg)
		if err != nil || result.Status() != frame.StatusDRDY {
			t.Fatalf("%v: status %#x, %v", op, result.Status(), err)
		}
		return rest
	}
	ask(1, frame.OpWriteExt, data)
	inFile := make([]byte, len(data))
	if _, err := f.ReadAt(inFile, 24*frame.SectorSize); err != nil || !bytes.Equal(inFile, data) {
		t.Errorf("the file has something else than was written: %v", err)
	}
	// A question of something else first: its answer would be taken for this one's.
	h := frame.Header{Dst: macB, Src: macA, Addr: frame.Addr{Shelf: 1, Slot: 1}, Command: aoe.CommandIssueATACommand, Tag: 7}
	if _, err := a.Send([][]byte{frame.Pad(frame.NewATA(frame.OpIdentify, 0, 1).Append(h.Append(nil)))}); err != nil {
		t.Fatal(err)
	}
	if got := ask(2, frame.OpReadExt, nil); !bytes.Equal(got, data) {
		t.Error("something else was read than written")
	}
	b.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
