package newc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// TestGolden is one file of a name and a length that both need padding, byte by
// byte as buffer-format.rst has it.
func TestGolden(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := errors.Join(w.File("bin/x", 0o755, []byte("hello")), w.Close()); err != nil {
		t.Fatal(err)
	}
	want := "070701" + // magic
		"00000001" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + // inode, mode, uid, gid, links, time
		"00000005" + "00000000" + "00000000" + "00000000" + "00000000" + // size, device, device of a node
		"00000006" + "00000000" + // name with its zero, no checksum
		"bin/x\x00" + "hello\x00\x00\x00" + // 110 + 6 is a multiple of four
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000000" +
		"0000000B" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if b.String() != want {
		t.Errorf("archive is\n%q, want\n%q", b.String(), want)
	}
}

// An entry is what read finds.
type entry struct {
	name                      string
	mode, links, major, minor uint64
	inode                     uint64
	data                      string
}

// read is a reader of archives that shares nothing with the writer.
func read(t *testing.T, archive []byte) (all []entry) {
	t.Helper()
	for at := 0; ; {
		if at%4 != 0 || at+110 > len(archive) || string(archive[at:at+6]) != "070701" {
			t.Fatalf("no header at byte %d of %d", at, len(archive))
		}
		field := func(i int) uint64 {
			v, err := strconv.ParseUint(string(archive[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatalf("field %d of the header at byte %d: %v", i, at, err)
			}
			return v
		}
		size, nameLen := int(field(6)), int(field(11))
		name := string(archive[at+110 : at+110+nameLen-1])
		data := (at + 110 + nameLen + 3) &^ 3
		if name == "TRAILER!!!" {
			if data != len(archive) {
				t.Fatalf("%d bytes behind the trailer", len(archive)-data)
			}
			return all
		}
		all = append(all, entry{name, field(1), field(4), field(9), field(10), field(0), string(archive[data : data+size])})
		at = (data + size + 3) &^ 3
	}
}

// TestEveryLength: whatever the lengths of names and files modulo four, each
// entry begins where the kernel looks for it.
func TestEveryLength(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for i := range 64 {
		if err := w.File(strings.Repeat("n", i/8+1)+fmt.Sprint(i), 0o644, bytes.Repeat([]byte{byte(i)}, i%8)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all := read(t, b.Bytes())
	if len(all) != 64 {
		t.Fatalf("%d entries, want 64", len(all))
	}
	for i, e := range all {
		if e.name != strings.Repeat("n", i/8+1)+fmt.Sprint(i) || e.data != strings.Repeat(string(rune(i)), i%8) {
			t.Errorf("entry %d is %q with %q", i, e.name, e.data)
		}
	}
}

func TestKinds(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	err := errors.Join(w.Dir("dev", 0o755), w.CharDevice("dev/console", 0o600, 5, 1), w.Symlink("bin", "usr/bin"), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"dev", 0o040755, 2, 0, 0, 1, ""},
		{"dev/console", 0o020600, 1, 5, 1, 2, ""},
		{"bin", 0o120777, 1, 0, 0, 3, "usr/bin"},
	}
	for i, e := range read(t, b.Bytes()) {
		if e != want[i] {
			t.Errorf("entry %d is %+v, want %+v", i, e, want[i])
		}
	}
}

func TestRefused(t *testing.T) {
	w := NewWriter(io.Discard)
	for _, name := range []string{"", "/init", "TRAILER!!!", "a\x00b"} {
		if err := w.File(name, 0o644, nil); err == nil {
			t.Errorf("a file with the name %q was written", name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("closed twice without an error")
	}
	if err := w.File("late", 0o644, nil); err == nil {
		t.Error("written to after Close without an error")
	}
}

// full takes n bytes and fails from then on.
type full struct{ n int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestBrokenStaysBroken: an archive with a hole must not look whole.
func TestBrokenStaysBroken(t *testing.T) {
	f := &full{n: 150}
	w := NewWriter(f)
	if err := w.File("a", 0o644, make([]byte, 100)); !errors.Is(err, errFull) {
		t.Fatalf("File = %v, want %v", err, errFull)
	}
	f.n = 1 << 20
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close = %v although something is missing, want %v", err, errFull)
	}
}
