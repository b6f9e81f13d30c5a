package frame

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mdlayher/aoe"
	"github.com/mdlayher/ethernet"
)

var (
	macTarget    = MAC{0x02, 0, 0, 0, 0, 0x01}
	macInitiator = MAC{0x02, 0, 0, 0, 0, 0x02}
	macOther     = MAC{0x02, 0, 0, 0, 0, 0x03}
)

// sector is one sector of data that is not zero anywhere.
var sector = bytes.Repeat([]byte("AoE!"), SectorSize/4)

// A kind is one form of frame, with a value of its own in every field.
type kind struct {
	name    string
	b       []byte
	sectors int // of data behind an ATA argument
}

func request(c aoe.Command) Header {
	return Header{Dst: macTarget, Src: macInitiator, Addr: Addr{0x0102, 3}, Command: c, Tag: 0x8a0b0c0d}
}

func response(c aoe.Command) Header {
	h := request(c)
	h.Dst, h.Src, h.Flags = h.Src, h.Dst, FlagResponse
	return h
}

// kinds is every form of frame there is, without padding.
func kinds() []kind {
	const (
		ata     = aoe.CommandIssueATACommand
		config  = aoe.CommandQueryConfigInformation
		mask    = aoe.CommandMACMaskList
		reserve = aoe.CommandReserveRelease
	)
	refused := response(ata)
	refused.Flags |= FlagError
	refused.Error = aoe.ErrorDeviceUnavailable

	masks := func(h Header) []byte {
		m := Mask{Sub: aoe.MACMaskCommandEdit, Count: 2}.Append(h.Append(nil))
		m = MaskDirective{aoe.DirectiveCommandAdd, macInitiator}.Append(m)
		return MaskDirective{aoe.DirectiveCommandDelete, macOther}.Append(m)
	}
	reserves := func(h Header) []byte {
		r := Reserve{Sub: aoe.ReserveReleaseCommandSet, Count: 2}.Append(h.Append(nil))
		return macOther.Append(macInitiator.Append(r))
	}
	return []kind{
		{"read request", NewATA(OpReadExt, 0x060504030201, 2).Append(request(ata).Append(nil)), 0},
		{"read reply", append(ATA{Op: StatusDRDY}.Append(response(ata).Append(nil)), sector...), 1},
		{"write request", append(NewATA(OpWriteExt, 7, 1).Append(request(ata).Append(nil)), sector...), 1},
		{"write reply", ATA{Op: StatusDRDY}.Append(response(ata).Append(nil)), 0},
		{"ATA error reply", ATA{Op: StatusDRDY | StatusErr, Feature: ErrorUNC, Count: 1}.Append(response(ata).Append(nil)), 0},
		{"AoE error reply", NewATA(OpRead, 7, 1).Append(refused.Append(nil)), 0},
		{"config request", Config{Sub: aoe.ConfigCommandTest, String: []byte("rack 7")}.Append(request(config).Append(nil)), 0},
		{"config reply", Config{0x1122, 0x3344, 16, 1, aoe.ConfigCommandRead, []byte("rack 7")}.Append(response(config).Append(nil)), 0},
		{"mask request", masks(request(mask)), 0},
		{"mask reply", masks(response(mask)), 0},
		{"mask error reply", Mask{aoe.MACMaskCommandEdit, aoe.MACMaskErrorListFull, 200, nil}.Append(response(mask).Append(nil)), 0},
		{"reserve request", reserves(request(reserve)), 0},
		{"reserve reply", reserves(response(reserve)), 0},
	}
}

// parse reads everything in b, sectors of data included, and returns it as text
// that can be compared.
func parse(b []byte, sectors int) (string, error) {
	h, arg, err := Parse(b)
	if err != nil {
		return "", err
	}
	found := fmt.Sprintf("%+v", h)
	switch h.Command {
	case aoe.CommandIssueATACommand:
		a, rest, err := ParseATA(arg)
		if err != nil {
			return "", err
		}
		data, err := Data(rest, sectors)
		return fmt.Sprintf("%s %+v %q", found, a, data), err
	case aoe.CommandQueryConfigInformation:
		c, err := ParseConfig(arg)
		return fmt.Sprintf("%s %+v", found, c), err
	case aoe.CommandMACMaskList:
		parse := ParseMask
		if h.IsResponse() {
			parse = ParseMaskReply
		}
		m, err := parse(arg)
		for i := range m.Len() {
			found += fmt.Sprintf(" %+v", m.At(i))
		}
		return fmt.Sprintf("%s %v %v %v", found, m.Sub, m.Error, m.Count), err
	case aoe.CommandReserveRelease:
		r, err := ParseReserve(arg)
		for i := range r.Len() {
			found += fmt.Sprintf(" %v", r.At(i))
		}
		return fmt.Sprintf("%s %v %v", found, r.Sub, r.Count), err
	}
	return found, nil
}

// TestH10TruncatedFrames: a frame that lost its end is refused, wherever it was
// cut, and always for the same reason.
func TestH10TruncatedFrames(t *testing.T) {
	for _, k := range kinds() {
		if _, err := parse(k.b, k.sectors); err != nil {
			t.Errorf("%s: the whole frame: %v", k.name, err)
		}
		for n := range k.b {
			// The capacity ends too: no parser may look behind the length.
			if got, err := parse(k.b[:n:n], k.sectors); err != ErrShort {
				t.Errorf("%s: %d of %d bytes: %s, %v, want ErrShort", k.name, n, len(k.b), got, err)
			}
		}
	}
}

// TestLengthsComeFromFields: padding is no part of a frame, whatever it holds,
// and its absence is no fault (veth and tap do not pad).
func TestLengthsComeFromFields(t *testing.T) {
	for _, k := range kinds() {
		want, err := parse(k.b, k.sectors)
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		for name, tail := range map[string][]byte{
			"zeros to the minimum": Pad(bytes.Clone(k.b))[len(k.b):],
			"one byte":             {0xff},
			"a kilobyte":           bytes.Repeat([]byte{0xee}, 1024),
		} {
			if got, err := parse(append(bytes.Clone(k.b), tail...), k.sectors); err != nil || got != want {
				t.Errorf("%s and %s behind it:\n got %s, %v\nwant %s", k.name, name, got, err, want)
			}
		}
	}
}

// TestReservedFieldsAreIgnored: "Reserved fields must be set to zero in all
// messages sent" (AoEr11, section 1) is not for the receiver to enforce.
func TestReservedFieldsAreIgnored(t *testing.T) {
	for _, row := range []struct {
		kind     string
		reserved []int // offsets
	}{
		{"read request", []int{34, 35}},
		{"write request", []int{34, 35}},
		{"read reply", []int{34, 35}},
		{"mask request", []int{24, 28, 36}},
		{"mask reply", []int{24, 28, 36}},
	} {
		for _, k := range kinds() {
			if k.name != row.kind {
				continue
			}
			want, err := parse(k.b, k.sectors)
			if err != nil {
				t.Fatal(err)
			}
			for _, off := range row.reserved {
				k.b[off] = 0xff
			}
			if got, err := parse(k.b, k.sectors); err != nil || got != want {
				t.Errorf("%s: got %s, %v\nwant %s", k.name, got, err, want)
			}
		}
	}
}

// TestHeader: every field is where AoEr11, section 2 draws it.
func TestHeader(t *testing.T) {
	want := Header{
		Dst:     MAC{1, 2, 3, 4, 5, 6},
		Src:     MAC{7, 8, 9, 10, 11, 12},
		Version: 1,
		Flags:   FlagResponse | FlagError,
		Error:   aoe.ErrorTargetIsReserved,
		Addr:    Addr{0x1234, 0x56},
		Command: aoe.CommandReserveRelease,
		Tag:     0x89abcdef,
	}
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xa2,
		0x1c, 6, 0x12, 0x34, 0x56, 3, 0x89, 0xab, 0xcd, 0xef}
	got, arg, err := Parse(append(bytes.Clone(b), "arg"...))
	if err != nil || got != want || string(arg) != "arg" {
		t.Errorf("got %+v, %q, %v\nwant %+v", got, arg, err, want)
	}
	if again := want.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("got %x\nwant %x", again, b)
	}
	if !got.IsResponse() || !got.IsError() || (Header{}).IsResponse() || (Header{}).IsError() {
		t.Error("flags R and E are mixed up")
	}
	if b[TagOffset] != 0x89 {
		t.Error("TagOffset is not where the tag is")
	}
}

// TestVersions: a zero Version is sent as the one that there is. What arrives is
// not judged: a target owes a foreign version an answer, and vblade announces
// itself with version 0.
func TestVersions(t *testing.T) {
	for in, out := range map[uint8]uint8{0: 1, 1: 1, 2: 2, 15: 15} {
		h, _, err := Parse(Header{Version: in}.Append(nil))
		if err != nil || h.Version != out {
			t.Errorf("version %d: got %d, %v, want %d", in, h.Version, err, out)
		}
	}
	b := Header{}.Append(nil)
	b[14] = 0
	if h, _, err := Parse(b); err != nil || h.Version != 0 {
		t.Errorf("version 0 on the wire: got %d, %v", h.Version, err)
	}
}

// TestNotAoE: other protocols, and AoE inside a VLAN tag, which hardware strips
// or a VLAN interface removes, but which is not ours to look behind.
func TestNotAoE(t *testing.T) {
	aoeFrame := kinds()[0].b
	tagged := bytes.Clone(aoeFrame[:12])
	tagged = append(tagged, 0x81, 0x00, 0x00, 0x07)
	tagged = append(tagged, aoeFrame[12:]...)
	for _, row := range []struct {
		name string
		b    []byte
		want error
	}{
		{"VLAN 7", tagged, ErrEtherType},
		{"IPv4", withEtherType(aoeFrame, ethernet.EtherTypeIPv4), ErrEtherType},
		{"IEEE 802.3 length", withEtherType(aoeFrame, 46), ErrEtherType},
		{"IPv4 runt", withEtherType(aoeFrame, ethernet.EtherTypeIPv4)[:EthernetLen], ErrEtherType},
		{"AoE runt", aoeFrame[:EthernetLen], ErrShort},
		{"no EtherType", aoeFrame[:EthernetLen-1], ErrShort},
		{"nothing", nil, ErrShort},
	} {
		if h, arg, err := Parse(row.b); err != row.want || arg != nil || h != (Header{}) {
			t.Errorf("%s: got %+v, %x, %v, want %v", row.name, h, arg, err, row.want)
		}
	}
}

func withEtherType(b []byte, e ethernet.EtherType) []byte {
	b = bytes.Clone(b)
	b[12], b[13] = byte(e>>8), byte(e)
	return b
}

// TestReply: the answer to a broadcast comes from the disk itself, to whoever
// asked, with its command and its tag.
func TestReply(t *testing.T) {
	h := request(aoe.CommandQueryConfigInformation)
	h.Dst, h.Addr, h.Version, h.Error = Broadcast, Anywhere, 7, 9
	h.Flags = 0x7 // E and both reserved bits, which the sender should not have set
	b := append(h.Append(nil), "argument"...)

	want := response(h.Command)
	want.Version = Version
	Reply(b, macTarget, want.Addr)
	got, arg, err := Parse(b)
	if err != nil || got != want || string(arg) != "argument" {
		t.Errorf("got %+v, %q, %v\nwant %+v", got, arg, err, want)
	}

	want.Flags, want.Error = FlagResponse|FlagError, aoe.ErrorUnsupportedVersion
	b = append(h.Append(nil), "argument"...)
	ReplyError(b, macTarget, want.Addr, aoe.ErrorUnsupportedVersion)
	got, arg, err = Parse(b)
	if err != nil || got != want || string(arg) != "argument" {
		t.Errorf("error: got %+v, %q, %v\nwant %+v", got, arg, err, want)
	}
}

// TestPut: tag and MACs of a frame that is sent again, or to another port.
func TestPut(t *testing.T) {
	b := request(aoe.CommandIssueATACommand).Append(nil)
	PutTag(b, 0x01020304)
	PutEthernet(b, macOther, macTarget)
	want := request(aoe.CommandIssueATACommand)
	want.Version, want.Tag, want.Dst, want.Src = Version, 0x01020304, macOther, macTarget
	if got, _, err := Parse(b); err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// TestPadSendsNothingStale: what a buffer held before is not sent as padding.
func TestPadSendsNothingStale(t *testing.T) {
	for n := range MinLen + 5 {
		b := bytes.Repeat([]byte{0xee}, 100)
		got := Pad(b[:n])
		want := append(bytes.Repeat([]byte{0xee}, n), make([]byte, max(MinLen-n, 0))...)
		if !bytes.Equal(got, want) || &got[:1][0] != &b[0] {
			t.Errorf("%d bytes: got %x", n, got)
		}
	}
}

func TestSectorsPerFrame(t *testing.T) {
	for _, row := range []struct {
		name         string
		mtu, sectors int
	}{
		{"no MTU", 0, 0},
		{"negative", -1, 0},
		{"a byte short of one sector", 533, 0},
		{"one sector", 534, 1},
		{"Ethernet", 1500, 2},
		{"jumbo", 9000, 17},
		{"loopback: the count is one byte", 1 << 20, 255},
	} {
		if got := SectorsPerFrame(row.mtu); got != row.sectors {
			t.Errorf("%s: MTU %d: %d sectors, want %d", row.name, row.mtu, got, row.sectors)
		}
		if row.sectors > 0 && row.sectors < 255 {
			frame := ATADataOffset + row.sectors*SectorSize
			if frame > EthernetLen+row.mtu || frame+SectorSize <= EthernetLen+row.mtu {
				t.Errorf("%s: a frame of %d sectors has %d bytes", row.name, row.sectors, frame)
			}
		}
	}
}
