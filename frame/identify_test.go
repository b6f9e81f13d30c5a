package frame

import (
	"encoding/binary"
	"strings"
	"testing"
)

// TestIdentifyRoundTrip: what is encoded is found again.
func TestIdentifyRoundTrip(t *testing.T) {
	plain := Identify{PhysicalSectorSize: 512}
	for _, row := range []struct {
		name string
		in   Identify
		want func(*Identify) // what is different in what comes out
	}{
		{"nothing", plain, nil},
		{"everything", Identify{"S/N 1", "V1.0", "a disk", 1 << 30, false, true, true, true, true, true, 4096, 1 << 63, NewVerifier(1)}, nil},
		{"an instance", Identify{Instance: 0x0123_4567_89ab_cdef, PhysicalSectorSize: 512}, nil},
		{"a verifier", Identify{Instance: 1, Verifier: NewVerifier(0x0123_4567_89ab), PhysicalSectorSize: 512}, nil},
		{"a verifier of nobody", Identify{Verifier: NewVerifier(1), PhysicalSectorSize: 512}, func(id *Identify) { id.Verifier = 0 }},
		{"trim that leaves anything", Identify{Sectors: 1000, Trim: true, PhysicalSectorSize: 512}, nil},
		{"zeros after no trim", Identify{Sectors: 1000, TrimZeroes: true, PhysicalSectorSize: 512},
			func(id *Identify) { id.TrimZeroes = false }},
		{"28-bit commands only", Identify{Sectors: 1000, LBA28: true, Flush: true, PhysicalSectorSize: 512}, nil},
		{"28-bit commands only, largest", Identify{Sectors: MaxLBA28, LBA28: true, PhysicalSectorSize: 512}, nil},
		{"28-bit commands only, larger", Identify{Sectors: MaxLBA28 + 1, LBA28: true, PhysicalSectorSize: 512},
			func(id *Identify) { id.Sectors = MaxLBA28 }},
		{"as large as 28 bits reach", Identify{Sectors: MaxLBA28, PhysicalSectorSize: 512}, nil},
		{"one sector larger", Identify{Sectors: MaxLBA28 + 1, PhysicalSectorSize: 512}, nil},
		{"as large as 32 bits reach", Identify{Sectors: 1 << 32, PhysicalSectorSize: 512}, nil},
		{"as large as 48 bits reach", Identify{Sectors: MaxSectors, PhysicalSectorSize: 512}, nil},
		{"larger than 48 bits reach", Identify{Sectors: MaxSectors + 1, PhysicalSectorSize: 512},
			func(id *Identify) { id.Sectors = MaxSectors }},
		{"texts as long as they may be", Identify{Serial: strings.Repeat("s", SerialLen), Firmware: strings.Repeat("f", FirmwareLen),
			Model: strings.Repeat("m", ModelLen), PhysicalSectorSize: 512}, nil},
		{"texts that are longer", Identify{Serial: strings.Repeat("s", 21), Firmware: strings.Repeat("f", 9),
			Model: strings.Repeat("m", 100), PhysicalSectorSize: 512},
			func(id *Identify) { id.Serial, id.Firmware, id.Model = id.Serial[:20], id.Firmware[:8], id.Model[:40] }},
		{"texts of odd length", Identify{Serial: "s", Firmware: "123", Model: "a b c", PhysicalSectorSize: 512}, nil},
		{"blanks around", Identify{Serial: "  s ", Model: " m", PhysicalSectorSize: 512},
			func(id *Identify) { id.Serial, id.Model = "s", "m" }},
		{"not printable", Identify{Serial: "\x1b[31mred", Model: "Größe\x00\n", PhysicalSectorSize: 512},
			func(id *Identify) { id.Serial, id.Model = "?[31mred", "Gr????e??" }},
		{"physical sectors not told", Identify{},
			func(id *Identify) { id.PhysicalSectorSize = 512 }},
		{"physical sectors of 4 KiB", Identify{PhysicalSectorSize: 4096}, nil},
		{"physical sectors, largest", Identify{PhysicalSectorSize: 512 << 15}, nil},
		{"physical sectors, larger", Identify{PhysicalSectorSize: 512 << 16},
			func(id *Identify) { id.PhysicalSectorSize = 512 << 15 }},
		{"physical sectors, odd", Identify{PhysicalSectorSize: 5000},
			func(id *Identify) { id.PhysicalSectorSize = 4096 }},
		{"physical sectors, small", Identify{PhysicalSectorSize: 100},
			func(id *Identify) { id.PhysicalSectorSize = 512 }},
		{"physical sectors, negative", Identify{PhysicalSectorSize: -4096},
			func(id *Identify) { id.PhysicalSectorSize = 512 }},
	} {
		want := row.in
		if row.want != nil {
			row.want(&want)
		}
		b := row.in.Append([]byte("before"))
		if len(b) != len("before")+IdentifyLen || string(b[:6]) != "before" {
			t.Fatalf("%s: %d bytes", row.name, len(b))
		}
		got, err := ParseIdentify(b[6:])
		if err != nil || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", row.name, got, err, want)
		}
	}
}

// TestIdentifyWords: what stands in the words, by their numbers in ATA8-ACS and
// ACS-2, for the initiators that read them.
func TestIdentifyWords(t *testing.T) {
	full := Identify{Sectors: 0x0000_1234_5678_9abc, WriteCache: true, Flush: true, FlushExt: true, Trim: true, TrimZeroes: true, PhysicalSectorSize: 4096,
		Instance: 0x0123_4567_89ab_cdef, Verifier: NewVerifier(0x0123_4567_89ab)}
	bare := Identify{Sectors: 0x100, LBA28: true}
	for _, row := range []struct {
		name       string
		word       int
		full, bare uint16
	}{
		{"ATA, fixed", 0, 0x0040, 0x0040},
		{"spinning", 2, 0xc837, 0xc837},
		{"no READ MULTIPLE", 47, 0x8000, 0x8000},
		{"trusted computing", 48, 0x4000, 0x4000},
		{"LBA, no DMA", 49, 0x0200, 0x0200},
		{"capabilities", 50, 0x4000, 0x4000},
		{"no words 54-58, 64-70 and 88", 53, 0, 0},
		{"28-bit size, low", 60, 0xffff, 0x0100},
		{"28-bit size, high", 61, 0x0fff, 0},
		{"zeros after TRIM, always", 69, 0x4020, 0},
		{"versions", 80, 0x03f0, 0x03f0},
		{"supported: write cache", 82, 0x0020, 0},
		{"supported: FLUSH EXT, FLUSH, LBA48", 83, 0x7400, 0x4000},
		{"supported", 84, 0x4000, 0x4000},
		{"enabled: write cache", 85, 0x0020, 0},
		{"enabled: FLUSH EXT, FLUSH, LBA48", 86, 0x3400, 0},
		{"enabled", 87, 0x4000, 0x4000},
		{"48-bit size, low", 100, 0x9abc, 0},
		{"48-bit size", 101, 0x5678, 0},
		{"48-bit size", 102, 0x1234, 0},
		{"48-bit size, high", 103, 0, 0},
		{"blocks of TRIM ranges", 105, 1, 0},
		{"eight logical sectors in a physical one", 106, 0x6003, 0x4000},
		{"vendor specific: an instance follows, Ao", 129, 'A' | 'o'<<8, 0},
		{"vendor specific: Ei", 130, 'E' | 'i'<<8, 0},
		{"vendor specific: ns", 131, 'n' | 's'<<8, 0},
		{"vendor specific: t1", 132, 't' | '1'<<8, 0},
		{"vendor specific: instance, low", 133, 0xcdef, 0},
		{"vendor specific: instance", 134, 0x89ab, 0},
		{"vendor specific: instance", 135, 0x4567, 0},
		{"vendor specific: instance, high", 136, 0x0123, 0},
		{"vendor specific: verifier, low", 137, 0x89ab, 0},
		{"vendor specific: verifier", 138, 0x4567, 0},
		{"vendor specific: verifier, high", 139, 0x8123, 0},
		{"vendor specific: nothing", 140, 0, 0},
		{"TRIM", 169, 1, 0},
	} {
		if got := word(full.Append(nil), row.word); got != row.full {
			t.Errorf("word %d, %s: %#04x, want %#04x", row.word, row.name, got, row.full)
		}
		if got := word(bare.Append(nil), row.word); got != row.bare {
			t.Errorf("word %d, %s, bare: %#04x, want %#04x", row.word, row.name, got, row.bare)
		}
	}
}

// TestIdentifyText: two characters are swapped in each word.
func TestIdentifyText(t *testing.T) {
	d := Identify{Serial: "abc"}.Append(nil)
	if got := string(d[20:40]); got != "ba c"+strings.Repeat(" ", 16) {
		t.Errorf("serial %q", got)
	}
	// Some disks end their texts with zeros, some move them to the right.
	copy(d[20:40], "\x00\x00  ba\x00c\x00\x00          ")
	d[510] = 0 // no checksum
	if id, err := ParseIdentify(d); err != nil || id.Serial != "abc" {
		t.Errorf("got %q, %v", id.Serial, err)
	}
}

// TestIdentifyChecksum: with the signature, every byte counts; without it, as in
// vblade's, nothing is said about them.
func TestIdentifyChecksum(t *testing.T) {
	good := Identify{Serial: "1", Sectors: 100, Flush: true}.Append(nil)
	for i := range good {
		d := []byte(string(good))
		d[i] ^= 0x10
		_, err := ParseIdentify(d)
		switch {
		case i == 2*wordIntegrity && err != nil:
			t.Errorf("without signature: %v", err)
		case i != 2*wordIntegrity && err != ErrArgument:
			t.Errorf("byte %d is wrong: %v", i, err)
		}
	}
	if _, err := ParseIdentify(append(good, 0xff)); err != nil {
		t.Errorf("with a byte behind: %v", err)
	}
	if _, err := ParseIdentify(good[:IdentifyLen-1]); err != ErrShort {
		t.Errorf("without its last byte: %v", err)
	}
}

// TestIdentifyWithoutValidityMarks: words 83 and 106 count only with bit 14 set
// and bit 15 clear; a disk that knows neither has 28-bit commands and sectors of
// 512 bytes.
func TestIdentifyWithoutValidityMarks(t *testing.T) {
	old := Identify{Sectors: 1000, Flush: true, FlushExt: true, PhysicalSectorSize: 4096}.Append(nil)
	old[510] = 0 // no checksum
	for _, mark := range []uint16{0, 0x8000, 0xc000} {
		for _, w := range []int{83, 106} {
			put(old, w, word(old, w)&0x3fff|mark)
		}
		want := Identify{Sectors: 1000, LBA28: true, PhysicalSectorSize: 512}
		if got, err := ParseIdentify(old); err != nil || got != want {
			t.Errorf("mark %#04x: got %+v, %v\nwant %+v", mark, got, err, want)
		}
	}
}

// TestIdentifyWithoutSize48: a disk may take 48-bit commands and tell its size
// only in words 60 and 61.
func TestIdentifyWithoutSize48(t *testing.T) {
	d := Identify{Sectors: 1000}.Append(nil)
	d[510] = 0 // no checksum
	binary.LittleEndian.PutUint64(d[200:], 0)
	if id, err := ParseIdentify(d); err != nil || id.Sectors != 1000 || id.LBA28 {
		t.Errorf("got %+v, %v", id, err)
	}
}

// TestIdentifyInstance: what another vendor puts into the same words is no
// instance, and an instance survives as text.
func TestIdentifyInstance(t *testing.T) {
	good := Identify{Instance: 7}.Append(nil)
	good[510] = 0 // no checksum
	for i := range 8 {
		d := []byte(string(good))
		d[2*129+i] ^= 1
		if id, err := ParseIdentify(d); err != nil || id.Instance != 0 {
			t.Errorf("byte %d of the mark is wrong: instance %v, %v", i, id.Instance, err)
		}
	}
	junk := Identify{}.Append(nil)
	junk[510] = 0
	for i := 2 * 129; i < 2*160; i++ {
		junk[i] = 0xff
	}
	if id, err := ParseIdentify(junk); err != nil || id.Instance != 0 {
		t.Errorf("junk: instance %v, %v", id.Instance, err)
	}
	text, err := Instance(0xabc).MarshalText()
	if err != nil || string(text) != "0000000000000abc" {
		t.Errorf("as text %q, %v", text, err)
	}
	var back Instance
	if err := back.UnmarshalText(text); err != nil || back != 0xabc {
		t.Errorf("from text %v, %v", back, err)
	}
	if err := back.UnmarshalText([]byte("disk")); err == nil {
		t.Error("a word is an instance")
	}
}
