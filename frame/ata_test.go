package frame

import (
	"bytes"
	"testing"

	"github.com/mdlayher/aoe"
)

// TestATA: every field is where AoEr11, section 3.1 draws it, and the LBA, alone
// in all of AoE, is little-endian.
func TestATA(t *testing.T) {
	b := []byte{0x41, 0x02, 0x03, 0x34, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0, 0}
	want := ATA{AFlags: AFlagExtended | AFlagWrite, Feature: 2, Count: 3, Op: OpWriteExt, LBA: 0x060504030201}
	got, rest, err := ParseATA(append(bytes.Clone(b), "data"...))
	if err != nil || got != want || string(rest) != "data" {
		t.Errorf("got %+v, %q, %v\nwant %+v", got, rest, err, want)
	}
	if again := want.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("got %x\nwant %x", again, b)
	}
	if want.Status() != 0x34 {
		t.Error("the status register is not the command register's byte")
	}
}

// TestAddress: 28 or 48 bits by opcode, not by the E flag. Linux puts bits of
// the device register above a 28-bit address, and vblade masks them too.
func TestAddress(t *testing.T) {
	const all = 1<<48 - 1
	for _, row := range []struct {
		op   Opcode
		lba  uint64
		want uint64
	}{
		{OpRead, 0xe0000005, 5},
		{OpRead, all, MaxLBA28},
		{OpWrite, all, MaxLBA28},
		{OpIdentify, 0xa0000000, 0},
		{OpReadExt, all, all},
		{OpWriteExt, 0xe0000005, 0xe0000005},
		{OpFlushExt, all, all},
		{OpTrim, all, all},
	} {
		for _, flags := range []uint8{0, AFlagExtended} {
			if got := (ATA{Op: row.op, LBA: row.lba, AFlags: flags}).Address(); got != row.want {
				t.Errorf("%v at %#x, flags %#x: %#x, want %#x", row.op, row.lba, flags, got, row.want)
			}
		}
	}
}

// TestNewATA: flags follow from the opcode. vblade needs W to be right: without
// it, it answers a write with data.
func TestNewATA(t *testing.T) {
	for op, flags := range map[Opcode]uint8{
		OpRead: 0, OpWrite: AFlagWrite, OpFlush: 0, OpIdentify: 0, OpCheckPower: 0,
		OpReadExt: AFlagExtended, OpWriteExt: AFlagExtended | AFlagWrite,
		OpFlushExt: AFlagExtended, OpTrim: AFlagExtended | AFlagWrite,
	} {
		want := ATA{AFlags: flags, Count: 8, Op: op, LBA: 0x0abcdef0}
		if got := NewATA(op, want.LBA, 8); got != want {
			t.Errorf("%v: got %+v, want %+v", op, got, want)
		}
	}
}

// TestWriteToAnotherSectorPanics: an address that does not fit is never cut.
func TestWriteToAnotherSectorPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"NewATA, 28 bits": func() { NewATA(OpWrite, 1<<28, 1) },
		"NewATA, 48 bits": func() { NewATA(OpWriteExt, 1<<48, 1) },
		"Append":          func() { ATA{Op: OpWriteExt, LBA: 1 << 48}.Append(nil) },
		"TrimRange":       func() { TrimRange{LBA: 1 << 48, Sectors: 1}.Append(nil) },
	} {
		if !panics(f) {
			t.Errorf("%s: no panic", name)
		}
	}
	NewATA(OpWrite, 1<<28-1, 1).Append(nil)
	NewATA(OpWriteExt, 1<<48-1, 1).Append(nil)
	TrimRange{LBA: 1<<48 - 1, Sectors: 1}.Append(nil)
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return
}

func TestOpcodes(t *testing.T) {
	for _, row := range []struct {
		op                      Opcode
		ext, read, write, flush bool
		name                    string
	}{
		{OpRead, false, true, false, false, "READ SECTORS"},
		{OpReadExt, true, true, false, false, "READ SECTORS EXT"},
		{OpWrite, false, false, true, false, "WRITE SECTORS"},
		{OpWriteExt, true, false, true, false, "WRITE SECTORS EXT"},
		{OpFlush, false, false, false, true, "FLUSH CACHE"},
		{OpFlushExt, true, false, false, true, "FLUSH CACHE EXT"},
		{OpTrim, true, false, false, false, "DATA SET MANAGEMENT"},
		{OpSMART, false, false, false, false, "SMART"},
		{OpCheckPower, false, false, false, false, "CHECK POWER MODE"},
		{OpIdentify, false, false, false, false, "IDENTIFY DEVICE"},
		{OpSetFeatures, false, false, false, false, "SET FEATURES"},
		{0x0f, false, false, false, false, "ATA command 0x0f"},
	} {
		op := row.op
		if op.IsExt() != row.ext || op.IsRead() != row.read || op.IsWrite() != row.write || op.IsFlush() != row.flush || op.String() != row.name {
			t.Errorf("%#02x: %v, ext %v, read %v, write %v, flush %v", uint8(op), op, op.IsExt(), op.IsRead(), op.IsWrite(), op.IsFlush())
		}
	}
}

// TestH9DataShorterThanTheCount: a write that promises more sectors than it
// carries is refused before anything is made of it.
func TestH9DataShorterThanTheCount(t *testing.T) {
	b := append(NewATA(OpWriteExt, 7, 255).Append(nil), bytes.Repeat(sector, 3)...)
	a, rest, err := ParseATA(b)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := Data(rest, int(a.Count)); err != ErrShort || data != nil {
		t.Errorf("255 sectors of 3: %d bytes, %v, want ErrShort", len(data), err)
	}
	if data, err := Data(rest[:len(rest)-1], 3); err != ErrShort || data != nil {
		t.Errorf("3 sectors but for a byte: %d bytes, %v, want ErrShort", len(data), err)
	}
	if data, err := Data(rest, 2); err != nil || len(data) != 2*SectorSize {
		t.Errorf("2 sectors of 3: %d bytes, %v", len(data), err)
	}
	if data, err := Data(nil, 0); err != nil || len(data) != 0 {
		t.Errorf("no sectors: %d bytes, %v", len(data), err)
	}
}

// TestPutResult: a reply made of the request keeps its LBA and its flags, and
// sends nothing back that the initiator put into reserved places.
func TestPutResult(t *testing.T) {
	b := append(NewATA(OpWriteExt, 0x060504030201, 2).Append(request(aoe.CommandIssueATACommand).Append(nil)), "data"...)
	b[24] |= 0xac
	b[25] = 0xff
	b[34], b[35] = 0xff, 0xff
	PutResult(b, StatusDRDY|StatusErr, ErrorIDNF, 1)
	got, rest, err := ParseATA(b[HeaderLen:])
	want := ATA{AFlags: AFlagExtended | AFlagWrite, Feature: ErrorIDNF, Count: 1, Op: StatusDRDY | StatusErr, LBA: 0x060504030201}
	if err != nil || got != want || string(rest) != "data" || b[34] != 0 || b[35] != 0 {
		t.Errorf("got %+v, %q, %v, reserved %x\nwant %+v", got, rest, err, b[34:36], want)
	}
}

// TestStatusFault is what the mask of initiators means.
func TestStatusFault(t *testing.T) {
	for status, fault := range map[uint8]bool{
		0: false, StatusDRDY: false, StatusErr: true, StatusDF: true, StatusDRQ: true, StatusBSY: true,
	} {
		if status&StatusFault != 0 != fault {
			t.Errorf("status %#02x: fault %v", status, !fault)
		}
	}
}

// TestTrimRange: 48 bits of LBA and 16 bits of length in eight bytes.
func TestTrimRange(t *testing.T) {
	ranges := []TrimRange{{0x060504030201, 0x0807}, {}, {1<<48 - 1, 1<<16 - 1}, {5, 0}}
	var b []byte
	for _, r := range ranges {
		b = r.Append(b)
	}
	if want := []byte{1, 2, 3, 4, 5, 6, 7, 8}; !bytes.Equal(b[:8], want) {
		t.Errorf("got %x, want %x", b[:8], want)
	}
	for i, want := range ranges {
		if got := ParseTrimRange(b, i); got != want {
			t.Errorf("entry %d: got %+v, want %+v", i, got, want)
		}
	}
	if len(b) != len(ranges)*TrimRangeLen {
		t.Errorf("%d bytes", len(b))
	}
}
