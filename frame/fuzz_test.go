package frame

import (
	"bytes"
	"testing"

	"github.com/mdlayher/aoe"
)

// The parsers promise of any bytes: no panic, nothing read behind the length, and
// what was found, encoded, is what was there but for reserved fields, which are
// sent as zero, and a version of zero, which is sent as 1.

// addFrames makes the frames of peers and our own the start of a corpus, each as
// cut returns it.
func addFrames(f *testing.F, cut func(b []byte) []byte) {
	for _, p := range peerFrames(f) {
		if b := cut(p.b); b != nil {
			f.Add(b)
		}
	}
	for _, k := range kinds() {
		if b := cut(k.b); b != nil {
			f.Add(b)
		}
	}
}

// argOf returns the argument of frames with command c, whole and cut short.
func argOf(c aoe.Command) func([]byte) []byte {
	return func(b []byte) []byte {
		if aoe.Command(b[19]) != c {
			return nil
		}
		return b[HeaderLen:]
	}
}

// clip makes reading behind the length of b a panic.
func clip(b []byte) []byte { return b[:len(b):len(b)] }

func FuzzParse(f *testing.F) {
	addFrames(f, func(b []byte) []byte { return b })
	f.Fuzz(func(t *testing.T, b []byte) {
		b = clip(b)
		h, arg, err := Parse(b)
		if err != nil {
			foreign := len(b) >= EthernetLen && (b[12] != 0x88 || b[13] != 0xa2)
			if want := map[bool]error{true: ErrEtherType, false: ErrShort}[foreign]; err != want || !foreign && len(b) >= HeaderLen {
				t.Errorf("%d bytes: %v, want %v", len(b), err, want)
			}
			return
		}
		want := bytes.Clone(b[:HeaderLen])
		if want[14]>>4 == 0 {
			want[14] |= Version << 4
			h.Version = Version
		}
		if got := h.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("got %x\nwant %x", got, want)
		}
		if again, _, err := Parse(h.Append(nil)); err != nil || again != h {
			t.Errorf("got %+v, %v\nwant %+v", again, err, h)
		}
		if len(arg) != len(b)-HeaderLen {
			t.Errorf("%d bytes behind a header in %d", len(arg), len(b))
		}
		checkLine(t, Describe(b))

		reply := bytes.Clone(b)
		Reply(reply, macTarget, Addr{1, 2})
		r, rest, err := Parse(reply)
		if err != nil || r.Dst != h.Src || r.Src != macTarget || !r.IsResponse() || r.IsError() || r.Tag != h.Tag || r.Command != h.Command || !bytes.Equal(rest, arg) {
			t.Errorf("reply %+v, %v to %+v", r, err, h)
		}
	})
}

func FuzzParseATA(f *testing.F) {
	addFrames(f, argOf(aoe.CommandIssueATACommand))
	f.Fuzz(func(t *testing.T, arg []byte) {
		arg = clip(arg)
		a, rest, err := ParseATA(arg)
		if err != nil {
			if err != ErrShort || len(arg) >= ataLen {
				t.Errorf("%d bytes: %v", len(arg), err)
			}
			return
		}
		want := bytes.Clone(arg[:ataLen])
		want[10], want[11] = 0, 0
		if got := a.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("got %x\nwant %x", got, want)
		}
		if a.Address() > a.LBA || a.Address()&mask28 != a.LBA&mask28 || !a.Op.IsExt() && a.Address() > MaxLBA28 {
			t.Errorf("%+v is at %#x", a, a.Address())
		}
		data, err := Data(rest, int(a.Count))
		if err == nil != (len(rest) >= int(a.Count)*SectorSize) || err == nil && len(data) != int(a.Count)*SectorSize {
			t.Errorf("%d sectors in %d bytes: %d bytes, %v", a.Count, len(rest), len(data), err)
		}
		for i := range len(data) / TrimRangeLen {
			if got := ParseTrimRange(data, i).Append(nil); !bytes.Equal(got, data[i*TrimRangeLen:][:TrimRangeLen]) {
				t.Errorf("range %d: got %x", i, got)
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	addFrames(f, argOf(aoe.CommandQueryConfigInformation))
	f.Fuzz(func(t *testing.T, arg []byte) {
		arg = clip(arg)
		c, err := ParseConfig(arg)
		if err != nil {
			if err == ErrArgument != (len(arg) >= configLen && int(arg[6])<<8|int(arg[7]) > MaxConfigString) || c.String != nil {
				t.Errorf("%d bytes: %+v, %v", len(arg), c, err)
			}
			return
		}
		want := bytes.Clone(arg[:configLen+len(c.String)])
		if want[5]>>4 == 0 {
			want[5] |= Version << 4
			c.Version = Version
		}
		if got := c.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("got %x\nwant %x", got, want)
		}
		if again, err := ParseConfig(c.Append(nil)); err != nil || !sameConfig(again, c) {
			t.Errorf("got %+v, %v\nwant %+v", again, err, c)
		}
		if n := c.MaxSectorsPerFrame(); n < 1 || n > 255 {
			t.Errorf("sector count %d is %d sectors", c.SectorCount, n)
		}
	})
}

func FuzzParseMask(f *testing.F) {
	addFrames(f, argOf(aoe.CommandMACMaskList))
	f.Fuzz(func(t *testing.T, arg []byte) {
		arg = clip(arg)
		m, err := ParseMask(arg)
		reply, replyErr := ParseMaskReply(arg)
		if len(arg) >= maskLen && arg[2] != 0 {
			if replyErr != nil || reply.Len() != 0 || !bytes.Equal(appendMask(nil, reply)[1:], arg[1:maskLen]) {
				t.Errorf("reply with error: %+v, %v", reply, replyErr)
			}
		} else if replyErr != err || !bytes.Equal(appendMask(nil, reply), appendMask(nil, m)) {
			t.Errorf("reply %+v, %v\nrequest %+v, %v", reply, replyErr, m, err)
		}
		if err != nil {
			if err != ErrShort || len(arg) >= maskLen+255*MaskDirectiveLen {
				t.Errorf("%d bytes: %v", len(arg), err)
			}
			return
		}
		if m.Len() != int(m.Count) {
			t.Fatalf("%d directives, %d counted", m.Len(), m.Count)
		}
		want := bytes.Clone(arg[:maskLen+m.Len()*MaskDirectiveLen])
		want[0] = 0
		for i := range m.Len() {
			want[maskLen+i*MaskDirectiveLen] = 0
		}
		if got := appendMask(nil, m); !bytes.Equal(got, want) {
			t.Errorf("got %x\nwant %x", got, want)
		}
	})
}

func FuzzParseReserve(f *testing.F) {
	addFrames(f, argOf(aoe.CommandReserveRelease))
	f.Fuzz(func(t *testing.T, arg []byte) {
		arg = clip(arg)
		r, err := ParseReserve(arg)
		if err != nil {
			if err != ErrShort || len(arg) >= reserveLen+255*macLen {
				t.Errorf("%d bytes: %v", len(arg), err)
			}
			return
		}
		if r.Len() != int(r.Count) {
			t.Fatalf("%d MACs, %d counted", r.Len(), r.Count)
		}
		if got, want := appendReserve(nil, r), arg[:reserveLen+r.Len()*macLen]; !bytes.Equal(got, want) {
			t.Errorf("got %x\nwant %x", got, want)
		}
	})
}

// FuzzParseIdentify: a disk's data, whatever they are, give printable texts and
// possible sizes, and what was understood survives being encoded.
func FuzzParseIdentify(f *testing.F) {
	f.Add(peer(f, "IDENTIFY DEVICE by a MAC that is not on the list: vblade")[ATADataOffset:])
	f.Add(Identify{"serial", "firm", "model", 1 << 40, false, true, true, true, true, true, 4096, 5, NewVerifier(6)}.Append(nil))
	f.Add(Identify{Sectors: 1000, LBA28: true}.Append(nil))
	f.Fuzz(func(t *testing.T, d []byte) {
		d = clip(d)
		id, err := ParseIdentify(d)
		if err != nil {
			if err == ErrShort != (len(d) < IdentifyLen) {
				t.Errorf("%d bytes: %v", len(d), err)
			}
			return
		}
		if id.Sectors > MaxSectors || id.LBA28 && id.Sectors > MaxLBA28 || id.PhysicalSectorSize < SectorSize {
			t.Errorf("got %+v", id)
		}
		checkLine(t, id.Serial+id.Firmware+id.Model)
		if again, err := ParseIdentify(id.Append(nil)); err != nil || again != id {
			t.Errorf("got %+v, %v\nwant %+v", again, err, id)
		}
	})
}

// FuzzIdentify: a disk's description, whatever it is, is encoded with a correct
// checksum, and once it has been encoded, encoding it again changes nothing.
func FuzzIdentify(f *testing.F) {
	f.Add("serial", "firmware", "model", uint64(1<<40), uint8(0xff), 4096)
	f.Add("", "", "", uint64(0), uint8(0), 0)
	f.Add(" \x00 padded", "é", "\xff\x1b", uint64(1<<63), uint8(1), -1)
	f.Fuzz(func(t *testing.T, serial, firmware, model string, sectors uint64, bits uint8, physical int) {
		id := Identify{
			serial, firmware, model, sectors,
			bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0, bits&16 != 0, bits&32 != 0, physical, Instance(sectors), NewVerifier(sectors),
		}
		d := id.Append(nil)
		got, err := ParseIdentify(d)
		if err != nil || len(d) != IdentifyLen || sum(d) != 0 || d[510] != signature {
			t.Fatalf("%+v: %d bytes, %v", id, len(d), err)
		}
		if got.LBA28 != id.LBA28 || got.WriteCache != id.WriteCache || got.Flush != id.Flush || got.FlushExt != id.FlushExt || got.Trim != id.Trim ||
			got.TrimZeroes != (id.Trim && id.TrimZeroes) {
			t.Errorf("got %+v\nwant %+v", got, id)
		}
		if got.Instance != id.Instance {
			t.Errorf("instance %v has become %v", id.Instance, got.Instance)
		}
		if id.Instance != 0 && got.Verifier != id.Verifier {
			t.Errorf("verifier %v has become %v", id.Verifier, got.Verifier)
		}
		if want := min(sectors, MaxSectors); !id.LBA28 && got.Sectors != want || id.LBA28 && got.Sectors != min(want, MaxLBA28) {
			t.Errorf("%d sectors have become %d", sectors, got.Sectors)
		}
		// Blanks and zeros around a text are padding, and zeros inside it are not.
		if again, err := ParseIdentify(got.Append(nil)); err != nil || again != got {
			t.Errorf("got %+v, %v\nwant %+v", again, err, got)
		}
	})
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"e1.2", "e*.*", "e65534.254", "e65535.255", "e01.02", "1.2", "e+1.2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddr(s)
		if err != nil {
			if a != (Addr{}) {
				t.Errorf("%q: %v and %v", s, a, err)
			}
			return
		}
		if again, err := ParseAddr(a.String()); err != nil || again != a || len(a.String()) > len(s) {
			t.Errorf("%q: %v, %v, then %v", s, a, err, again)
		}
	})
}

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"02:00:00:00:00:01", "02-00-00-00-00-01", "020000000001", "02:00-00:00:00:01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			if m != (MAC{}) {
				t.Errorf("%q: %v and %v", s, m, err)
			}
			return
		}
		if again, err := ParseMAC(m.String()); err != nil || again != m {
			t.Errorf("%q: %v, %v, then %v", s, m, err, again)
		}
	})
}
