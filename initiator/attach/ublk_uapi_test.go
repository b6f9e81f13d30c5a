package attach

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

// TestUblkEncoding: what is sent to the driver, byte by byte, as a C compiler
// lays out the structures of include/uapi/linux/ublk_cmd.h.
func TestUblkEncoding(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes below are a little-endian machine's: run it on one")
	}
	b := make([]byte, 64)
	for _, row := range []struct {
		name string
		n    int
		put  func()
		want string
	}{
		{"command", ublkCtrlLen, func() { ublkCtrl{dev: 7, len: 64, addr: 0x1122334455667788, data: 4711}.put(b) },
			"07000000 ffff 4000 8877665544332211 6712000000000000 0000000000000000"},
		{"commit", ublkIOLen, func() { putUblkIO(b, 0x102, -5) },
			"0000 0201 fbffffff 0000000000000000"},
		{"device", ublkInfoLen, func() {
			ublkInfo{queues: 1, depth: 64, maxIO: 128 << 10, id: ublkAnyDevice, flags: ublkNeeded, mark: 0x0807060504030201}.put(b)
		}, "0100 4000 0000 0000 00000200 ffffffff 00000000 00000000 d800000000000000 0102030405060708" + strings.Repeat("00", 24)},
		{"parameters", ublkParamsLen, func() {
			ublkParams{types: 3, attrs: ublkAttrCache | ublkAttrFUA, blockShift: 9, pageShift: 12, optShift: 13, maxSectors: 256,
				sectors: 1 << 20, discardGranularity: 512, maxDiscard: 0x1234, maxZeroes: 0x5678}.put(b)
		}, "3c000000 03000000" + // length, types
			"0c000000 09 0c 0d 0c 00010000 00000000 0000100000000000 0000000000000000" + // basic
			"00000000 00020000 34120000 78560000 0100 0000"}, // discard
	} {
		for i := range b {
			b[i] = 0xee // what was there before
		}
		row.put()
		if got, want := hex.EncodeToString(b[:row.n]), strings.ReplaceAll(row.want, " ", ""); got != want {
			t.Errorf("%s:\n%s, want\n%s", row.name, got, want)
		}
	}
	d := parseUblkDesc(append([]byte{ublkOpWrite, 0x20, 0x01, 0, 8, 0, 0, 0}, 1, 2, 3, 4, 5, 6, 7, 8))
	if d != (ublkDesc{op: ublkOpWrite, flags: ublkFUA | 1<<16, sectors: 8, start: 0x0807060504030201}) {
		t.Errorf("request %+v", d)
	}
}

// TestUblkEncodingIsReadBack: parsing what was encoded gives the same.
func TestUblkEncodingIsReadBack(t *testing.T) {
	b := make([]byte, 64)
	info := ublkInfo{queues: 1, depth: 2, state: ublkQuiesced, maxIO: 3, id: 4, pid: -5, flags: 6, mark: 7}
	if info.put(b); parseUblkInfo(b) != info {
		t.Errorf("device %+v", parseUblkInfo(b))
	}
	p := ublkParams{types: 3, attrs: 1, blockShift: 9, pageShift: 12, optShift: 16, maxSectors: 2, sectors: 3,
		discardGranularity: 4, maxDiscard: 5, maxZeroes: 6}
	if p.put(b); parseUblkParams(b) != p {
		t.Errorf("parameters %+v", parseUblkParams(b))
	}
}

// TestUblkCommandNumbers as the kernel's headers compute them.
func TestUblkCommandNumbers(t *testing.T) {
	for _, row := range []struct {
		name      string
		got, want uint32
	}{
		{"UBLK_U_CMD_GET_DEV_INFO", ublkGetDevInfo, 0x80207502},
		{"UBLK_U_CMD_ADD_DEV", ublkAddDev, 0xc0207504},
		{"UBLK_U_CMD_END_USER_RECOVERY", ublkEndRecovery, 0xc0207511},
		{"UBLK_U_CMD_GET_FEATURES", ublkGetFeatures, 0x80207513},
		{"UBLK_U_IO_FETCH_REQ", ublkFetch, 0xc0107520},
		{"UBLK_U_IO_COMMIT_AND_FETCH_REQ", ublkCommit, 0xc0107521},
	} {
		if row.got != row.want {
			t.Errorf("%s is %#x, want %#x", row.name, row.got, row.want)
		}
	}
	if got := ublkDataOffset(3); got != 0x80000000+3*(32<<20) {
		t.Errorf("data of tag 3 at %#x", got)
	}
}

// TestUblkParamsFollowTheDisk: the block layer is told what the disk can do, and
// nothing that it cannot.
func TestUblkParamsFollowTheDisk(t *testing.T) {
	plain := Info{Name: "e1.1", MaxRequest: 128 << 10, Preferred: 8192}
	for _, row := range []struct {
		name   string
		change func(*Info)
		want   func(*ublkParams)
	}{
		{"plain", func(*Info) {}, func(*ublkParams) {}},
		{"with a write cache", func(in *Info) { in.WriteCache = true }, func(p *ublkParams) { p.attrs = ublkAttrCache | ublkAttrFUA }},
		{"read-only", func(in *Info) { in.ReadOnly, in.Trim = true, true }, func(p *ublkParams) { p.attrs, p.maxZeroes = ublkAttrReadOnly, 0 }},
		{"that knows trim", func(in *Info) { in.Trim = true }, func(p *ublkParams) { p.maxDiscard = 2 << 20 }},
		{"that trims to zeros", func(in *Info) { in.Trim, in.TrimZeroes = true, true }, func(p *ublkParams) { p.maxDiscard, p.maxZeroes = 2<<20, 2<<20 }},
		{"that trims without limit", func(in *Info) { in.Trim, in.MaxTrim = true, 1<<42 }, func(p *ublkParams) { p.maxDiscard = math.MaxUint32 }},
		{"with large blocks", func(in *Info) { in.BlockSize = 4096 }, func(p *ublkParams) { p.blockShift, p.discardGranularity, p.sectors = 12, 4096, 2040 }},
		{"on a short path", func(in *Info) { in.Preferred = 1024 }, func(p *ublkParams) { p.optShift = 12 }},
	} {
		in := plain
		row.change(&in)
		in, err := in.withDefaults()
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		want := ublkParams{types: 3, blockShift: 9, pageShift: 12, optShift: 13, maxSectors: 256, sectors: 2047,
			discardGranularity: 512, maxZeroes: 256}
		row.want(&want)
		if got := ublkParamsOf(in, 2047*512+100); got != want {
			t.Errorf("%s:\n%+v, want\n%+v", row.name, got, want)
		}
	}
}

// TestUblkTakeOverIsChecked: a device is not served with less than it promised.
func TestUblkTakeOverIsChecked(t *testing.T) {
	now := ublkParams{attrs: ublkAttrCache, sectors: 1000, maxSectors: 256, maxDiscard: 10, maxZeroes: 10}
	for _, row := range []struct {
		name   string
		change func(has *ublkParams)
		ok     bool
	}{
		{"the same", func(*ublkParams) {}, true},
		{"the disk has grown", func(p *ublkParams) { p.sectors = 900 }, true},
		{"we take longer requests", func(p *ublkParams) { p.maxSectors = 128 }, true},
		{"the disk has shrunk", func(p *ublkParams) { p.sectors = 1001 }, false},
		{"requests were longer", func(p *ublkParams) { p.maxSectors = 257 }, false},
		{"it was read-only", func(p *ublkParams) { p.attrs |= ublkAttrReadOnly }, false},
		{"it would not flush", func(p *ublkParams) { p.attrs = 0 }, false},
		{"it discarded more", func(p *ublkParams) { p.maxDiscard = 11 }, false},
	} {
		has := now
		row.change(&has)
		if err := checkUblkTaken(has, now); (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestUblkMarks: a disk's device is found by its address and its serial number.
func TestUblkMarks(t *testing.T) {
	seen := map[uint64]string{}
	for _, in := range []Info{{Name: "e1.1"}, {Name: "e1.2"}, {Name: "e1.1", Serial: "A"}, {Name: "e1.1", Serial: "B"}, {Name: "e1.1A"}} {
		mark := ublkMark(in)
		if other, twice := seen[mark]; twice || mark == 0 || mark != ublkMark(in) {
			t.Errorf("%s/%s: mark %#x, also of %s", in.Name, in.Serial, mark, other)
		}
		seen[mark] = in.Name + "/" + in.Serial
	}
}
