package frame

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/mdlayher/aoe"
)

// FuzzMdlayher compares our codec with github.com/mdlayher/aoe's, which was
// written by somebody else from the same document: both refuse or both accept,
// find the same values and encode them into the same bytes. Where the two are
// not both defined, the other is told, or asked, something else:
//
//   - it begins behind the Ethernet header: frames that are not AoE are ours alone;
//   - it refuses versions other than 1 and commands above 3, which we leave to
//     the caller;
//   - it refuses reserved bytes that are not zero, and forgets reserved flags: they
//     are cleared first;
//   - it refuses a reserve list with padding behind it: it is cut off first;
//   - it looks for the directives of a mask reply with an error, which has none:
//     such frames are compared without them;
//   - it panics when it encodes 43 MACs or 32 mask directives, and more, because it
//     computes their length in 8 bits: it is not asked to.
func FuzzMdlayher(f *testing.F) {
	addFrames(f, func(b []byte) []byte { return b })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < EthernetLen || binary.BigEndian.Uint16(b[12:]) != uint16(EtherType) {
			return
		}
		if len(b) >= HeaderLen && (b[14]>>4 != Version || b[19] > byte(aoe.CommandReserveRelease)) {
			return
		}
		b = withoutReserved(b)
		var theirs aoe.Header
		theirErr := theirs.UnmarshalBinary(b[EthernetLen:])
		ours, ourErr := parse(b, 0)
		if ourErr == nil != (theirErr == nil) {
			t.Fatalf("%x:\nours %s, %v\ntheirs %+v, %v", b, ours, ourErr, theirs, theirErr)
		}
		if ourErr != nil {
			return
		}
		compareHeader(t, b, theirs)
		switch arg := theirs.Arg.(type) {
		case *aoe.ATAArg:
			compareATA(t, b, arg)
		case *aoe.ConfigArg:
			compareConfig(t, b, arg)
		case *aoe.MACMaskArg:
			compareMask(t, b, arg)
			if arg.DirCount >= 32 {
				return
			}
		case *aoe.ReserveReleaseArg:
			compareReserve(t, b, arg)
			if arg.NMACs >= 43 {
				return
			}
		}
		again, err := theirs.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if got := reencode(t, b); !bytes.HasPrefix(append(b[:EthernetLen:EthernetLen], again...), got) {
			t.Errorf("ours %x\ntheirs %x", got[EthernetLen:], again)
		}
	})
}

// withoutReserved is b without what the other codec refuses, see FuzzMdlayher.
func withoutReserved(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < HeaderLen {
		return b
	}
	b[14] &^= 0x03
	arg := b[HeaderLen:]
	switch c := aoe.Command(b[19]); {
	case c == aoe.CommandIssueATACommand && len(arg) >= ataLen:
		arg[0] &= aflags
		arg[10], arg[11] = 0, 0
	case c == aoe.CommandMACMaskList && len(arg) >= maskLen:
		arg[0] = 0
		if b[14]&FlagResponse != 0 && arg[2] != 0 {
			arg[3] = 0
		}
		for i := maskLen; i < len(arg); i += MaskDirectiveLen {
			arg[i] = 0
		}
	case c == aoe.CommandReserveRelease && len(arg) >= reserveLen:
		b = b[:min(len(b), HeaderLen+reserveLen+int(arg[1])*macLen)]
	}
	return b
}

func compareHeader(t *testing.T, b []byte, theirs aoe.Header) {
	h, _, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.Version != theirs.Version || h.IsResponse() != theirs.FlagResponse || h.IsError() != theirs.FlagError ||
		h.Error != theirs.Error || h.Addr != (Addr{theirs.Major, theirs.Minor}) || h.Command != theirs.Command ||
		h.Tag != binary.BigEndian.Uint32(theirs.Tag[:]) {
		t.Errorf("ours %+v\ntheirs %+v", h, theirs)
	}
}

func compareATA(t *testing.T, b []byte, theirs *aoe.ATAArg) {
	a, rest, err := ParseATA(b[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	lba := append(theirs.LBA[:], 0, 0)
	if a.AFlags&AFlagExtended != 0 != theirs.FlagLBA48Extended ||
		a.AFlags&AFlagDevice != 0 != theirs.FlagATADeviceHeadRegister ||
		a.AFlags&AFlagAsync != 0 != theirs.FlagAsynchronous ||
		a.AFlags&AFlagWrite != 0 != theirs.FlagWrite ||
		a.Feature != theirs.ErrFeature || a.Count != theirs.SectorCount || uint8(a.Op) != uint8(theirs.CmdStatus) ||
		a.LBA != binary.LittleEndian.Uint64(lba) || !bytes.Equal(rest, theirs.Data) {
		t.Errorf("ours %+v\ntheirs %+v", a, theirs)
	}
}

func compareConfig(t *testing.T, b []byte, theirs *aoe.ConfigArg) {
	c, err := ParseConfig(b[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	want := Config{theirs.BufferCount, theirs.FirmwareVersion, theirs.SectorCount, theirs.Version, theirs.Command, theirs.String}
	if !sameConfig(c, want) || len(c.String) != int(theirs.StringLength) {
		t.Errorf("ours %+v\ntheirs %+v", c, theirs)
	}
	if c.Version == 0 {
		theirs.Version = Version // what we send instead, and compare next
	}
}

func compareMask(t *testing.T, b []byte, theirs *aoe.MACMaskArg) {
	parse := ParseMask
	if b[14]&FlagResponse != 0 {
		parse = ParseMaskReply
	}
	m, err := parse(b[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	if m.Sub != theirs.Command || m.Error != theirs.Error || m.Count != theirs.DirCount || m.Len() != len(theirs.Directives) {
		t.Fatalf("ours %+v\ntheirs %+v", m, theirs)
	}
	for i, d := range theirs.Directives {
		if want := (MaskDirective{d.Command, MAC(d.MAC)}); m.At(i) != want {
			t.Errorf("directive %d: ours %+v, theirs %+v", i, m.At(i), want)
		}
	}
}

func compareReserve(t *testing.T, b []byte, theirs *aoe.ReserveReleaseArg) {
	r, err := ParseReserve(b[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	if r.Sub != theirs.Command || r.Count != theirs.NMACs || r.Len() != len(theirs.MACs) {
		t.Fatalf("ours %+v\ntheirs %+v", r, theirs)
	}
	for i, mac := range theirs.MACs {
		if r.At(i) != MAC(mac) {
			t.Errorf("MAC %d: ours %v, theirs %v", i, r.At(i), mac)
		}
	}
}

// TestMdlayherVocabulary: the other package's names for errors and commands are
// the numbers of AoEr11, because we have no others.
func TestMdlayherVocabulary(t *testing.T) {
	for name, pair := range map[string][2]int{
		"EtherType":             {int(EtherType), 0x88a2},
		"ATA":                   {int(aoe.CommandIssueATACommand), 0},
		"query config":          {int(aoe.CommandQueryConfigInformation), 1},
		"MAC mask list":         {int(aoe.CommandMACMaskList), 2},
		"reserve/release":       {int(aoe.CommandReserveRelease), 3},
		"unrecognised command":  {int(aoe.ErrorUnrecognizedCommandCode), 1},
		"bad argument":          {int(aoe.ErrorBadArgumentParameter), 2},
		"device unavailable":    {int(aoe.ErrorDeviceUnavailable), 3},
		"config string present": {int(aoe.ErrorConfigStringPresent), 4},
		"unsupported version":   {int(aoe.ErrorUnsupportedVersion), 5},
		"target is reserved":    {int(aoe.ErrorTargetIsReserved), 6},
		"config prefix":         {int(aoe.ConfigCommandTestPrefix), 2},
		"config force set":      {int(aoe.ConfigCommandForceSet), 4},
		"mask delete":           {int(aoe.DirectiveCommandDelete), 2},
		"mask list full":        {int(aoe.MACMaskErrorListFull), 3},
		"reserve force set":     {int(aoe.ReserveReleaseCommandForceSet), 2},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %#x, want %#x", name, pair[0], pair[1])
		}
	}
}

// TestMdlayherExclusions: the reasons that FuzzMdlayher gives for what it leaves
// out still hold. When one does not any more, its exclusion can go.
func TestMdlayherExclusions(t *testing.T) {
	macs := func(n int) func() {
		list := make([]net.HardwareAddr, n)
		for i := range list {
			list[i] = macOther[:]
		}
		return func() { (&aoe.ReserveReleaseArg{NMACs: uint8(n), MACs: list}).MarshalBinary() }
	}
	directives := func(n int) func() {
		list := make([]*aoe.Directive, n)
		for i := range list {
			list[i] = &aoe.Directive{MAC: macOther[:]}
		}
		return func() { (&aoe.MACMaskArg{DirCount: uint8(n), Directives: list}).MarshalBinary() }
	}
	if panics(macs(42)) || !panics(macs(43)) || panics(directives(31)) || !panics(directives(32)) {
		t.Error("long lists")
	}
	if (&aoe.ReserveReleaseArg{}).UnmarshalBinary(make([]byte, 36)) == nil {
		t.Error("padding behind a reserve list")
	}
	if (&aoe.ATAArg{}).UnmarshalBinary([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}) == nil {
		t.Error("reserved bytes")
	}
	if (&aoe.MACMaskArg{}).UnmarshalBinary([]byte{0, 1, 3, 1}) == nil {
		t.Error("mask reply with an error")
	}
}
