package frame

import (
	"bytes"
	"testing"

	"github.com/mdlayher/aoe"
)

// replies is how a target answers: each function makes the request in b a
// response, in place, and returns the frame to send.
var replies = []struct {
	name    string
	request string // of kinds
	reply   func(b []byte) []byte
	want    func(h []byte) []byte // the same, made from nothing behind the header h
}{
	{
		name:    "read",
		request: "read request",
		reply: func(b []byte) []byte {
			Reply(b, macTarget, Addr{0x0102, 3})
			b = b[:ATADataOffset+2*SectorSize]
			copy(b[ATADataOffset:], sector)
			copy(b[ATADataOffset+SectorSize:], sector)
			PutResult(b, StatusDRDY, 0, 0)
			return b
		},
		want: func(h []byte) []byte {
			h = ATA{AFlags: AFlagExtended, Op: StatusDRDY, LBA: 0x060504030201}.Append(h)
			return append(append(h, sector...), sector...)
		},
	},
	{
		name:    "write: the data are not sent back",
		request: "write request",
		reply: func(b []byte) []byte {
			Reply(b, macTarget, Addr{0x0102, 3})
			PutResult(b, StatusDRDY, 0, 0)
			return Pad(b[:ATADataOffset])
		},
		want: func(h []byte) []byte {
			h = ATA{AFlags: AFlagExtended | AFlagWrite, Op: StatusDRDY, LBA: 7}.Append(h)
			return append(h, make([]byte, MinLen-ATADataOffset)...)
		},
	},
	{
		name:    "config: longer than the request",
		request: "config request",
		reply: func(b []byte) []byte {
			Reply(b, macTarget, Addr{0x0102, 3})
			c := Config{BufferCount: 16, Firmware: 1, SectorCount: 2, Sub: aoe.ConfigCommandTest, String: sector}
			return Pad(c.Append(b[:HeaderLen]))
		},
		want: func(h []byte) []byte {
			return append(append(h, 0, 16, 0, 1, 2, 0x11, 2, 0), sector...)
		},
	},
	{
		name:    "config: the string that the request carries itself",
		request: "config request",
		reply: func(b []byte) []byte {
			c, _ := ParseConfig(b[HeaderLen:])
			Reply(b, macTarget, Addr{0x0102, 3})
			c.BufferCount = 16
			return Pad(c.Append(b[:HeaderLen]))
		},
		want: func(h []byte) []byte {
			h = append(append(h, 0, 16, 0, 0, 0, 0x11, 0, 6), "rack 7"...)
			return append(h, make([]byte, MinLen-len(h))...)
		},
	},
	{
		name:    "mask",
		request: "mask request",
		reply: func(b []byte) []byte {
			Reply(b, macTarget, Addr{0x0102, 3})
			b = Mask{Sub: aoe.MACMaskCommandEdit, Count: 1}.Append(b[:HeaderLen])
			return Pad(MaskDirective{MAC: macInitiator}.Append(b))
		},
		want: func(h []byte) []byte {
			h = append(h, 0, 1, 0, 1, 0, 0, 2, 0, 0, 0, 0, 2)
			return append(h, make([]byte, MinLen-len(h))...)
		},
	},
	{
		name:    "mask: an edit that failed",
		request: "mask request",
		reply: func(b []byte) []byte {
			Reply(b, macTarget, Addr{0x0102, 3})
			m := Mask{Sub: aoe.MACMaskCommandEdit, Error: aoe.MACMaskErrorListFull, Count: 1}
			return Pad(m.Append(b[:HeaderLen]))
		},
		want: func(h []byte) []byte {
			h = append(h, 0, 1, 3, 1)
			return append(h, make([]byte, MinLen-len(h))...)
		},
	},
	{
		name:    "reserve",
		request: "reserve request",
		reply: func(b []byte) []byte {
			Reply(b, macTarget, Addr{0x0102, 3})
			b = Reserve{Sub: aoe.ReserveReleaseCommandSet, Count: 1}.Append(b[:HeaderLen])
			return Pad(macOther.Append(b))
		},
		want: func(h []byte) []byte {
			h = append(h, 1, 1, 2, 0, 0, 0, 0, 3)
			return append(h, make([]byte, MinLen-len(h))...)
		},
	},
}

// inBuffer is a request as a target holds it: in a buffer that is larger and
// that other frames have been in.
func inBuffer(t testing.TB, name string) []byte {
	t.Helper()
	for _, k := range kinds() {
		if k.name == name {
			b := bytes.Repeat([]byte{0xee}, 2048)
			return b[:copy(b, k.b)]
		}
	}
	t.Fatalf("no frame %q", name)
	return nil
}

// TestRepliesInPlace: each reply is made in its request's buffer, is what it
// would be made from nothing, and has no byte that the buffer held before.
func TestRepliesInPlace(t *testing.T) {
	for _, row := range replies {
		b := inBuffer(t, row.request)
		h := response(aoe.Command(b[19]))
		got, want := row.reply(b), row.want(h.Append(nil))
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", row.name, got, want)
		}
		if &got[0] != &b[0] {
			t.Errorf("%s: the reply is in another buffer", row.name)
		}
	}
}

// TestNothingAllocates: the data path is parsing, encoding into a buffer and
// replying in place, and refusing costs no more than accepting.
func TestNothingAllocates(t *testing.T) {
	zero := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
	for _, k := range kinds() {
		zero("parse "+k.name, func() { consume(k.b) })
		for _, n := range []int{0, EthernetLen, HeaderLen - 1, HeaderLen, HeaderLen + 1, len(k.b) - 1} {
			zero("refuse "+k.name, func() { consume(k.b[:n]) })
		}
	}
	zero("refuse another EtherType", func() { Parse(make([]byte, MinLen)) })
	long := Config{String: sector}.Append(nil)
	long[6] = 0xff
	zero("refuse a long config string", func() { ParseConfig(long) })

	for _, row := range replies {
		fresh := inBuffer(t, row.request)
		b := bytes.Clone(fresh[:cap(fresh)])
		zero("reply "+row.name, func() {
			copy(b, fresh)
			row.reply(b[:len(fresh)])
		})
	}
	b := inBuffer(t, "write request")
	zero("refuse in place", func() { ReplyError(b, macTarget, Addr{1, 1}, aoe.ErrorBadArgumentParameter) })
	zero("encode a write", func() {
		Pad(NewATA(OpWriteExt, 7, 1).Append(request(aoe.CommandIssueATACommand).Append(b[:0])))
	})
	zero("encode IDENTIFY data", func() { Identify{Serial: "1", Model: "2", Sectors: 3}.Append(b[:0]) })
	zero("trim ranges", func() { ParseTrimRange(TrimRange{5, 6}.Append(b[:0]), 0) })

	d := Identify{Serial: "serial", Firmware: "firmware", Model: "model"}.Append(nil)
	if n := testing.AllocsPerRun(100, func() { ParseIdentify(d) }); n != 3 {
		t.Errorf("parse IDENTIFY data: %v allocations, want its three texts", n)
	}
	d[0] ^= 1
	zero("refuse IDENTIFY data", func() { ParseIdentify(d) })
	zero("refuse short IDENTIFY data", func() { ParseIdentify(d[:1]) })
}

// consume reads everything in b, as a target or an initiator does.
func consume(b []byte) (sum int) {
	h, arg, err := Parse(b)
	if err != nil {
		return 0
	}
	switch h.Command {
	case aoe.CommandIssueATACommand:
		a, rest, err := ParseATA(arg)
		if err == nil && a.Op.IsWrite() {
			rest, _ = Data(rest, int(a.Count))
		}
		sum += len(rest)
	case aoe.CommandQueryConfigInformation:
		c, _ := ParseConfig(arg)
		sum += len(c.String)
	case aoe.CommandMACMaskList:
		m, _ := ParseMask(arg)
		if h.IsResponse() {
			m, _ = ParseMaskReply(arg)
		}
		for i := range m.Len() {
			sum += int(m.At(i).MAC[5])
		}
	case aoe.CommandReserveRelease:
		r, _ := ParseReserve(arg)
		for i := range r.Len() {
			sum += int(r.At(i)[5])
		}
	}
	return sum
}

func BenchmarkParse(b *testing.B) {
	for _, k := range kinds() {
		if k.name != "read request" && k.name != "write request" && k.name != "config request" && k.name != "mask request" && k.name != "reserve request" {
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				consume(k.b)
			}
		})
	}
	b.Run("foreign", func(b *testing.B) {
		foreign := make([]byte, MinLen)
		b.ReportAllocs()
		for b.Loop() {
			consume(foreign)
		}
	})
	b.Run("IDENTIFY", func(b *testing.B) {
		d := Identify{Serial: "serial", Firmware: "firmware", Model: "model"}.Append(nil)
		b.ReportAllocs()
		for b.Loop() {
			ParseIdentify(d)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	buf := make([]byte, 0, 2048)
	h := request(aoe.CommandIssueATACommand)
	b.Run("read request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Pad(NewATA(OpReadExt, 7, 1).Append(h.Append(buf)))
		}
	})
	b.Run("config reply", func(b *testing.B) {
		c := Config{BufferCount: 16, String: sector}
		b.ReportAllocs()
		for b.Loop() {
			Pad(c.Append(h.Append(buf)))
		}
	})
	b.Run("IDENTIFY", func(b *testing.B) {
		id := Identify{Serial: "serial", Firmware: "firmware", Model: "model", Sectors: 1 << 30}
		b.ReportAllocs()
		for b.Loop() {
			id.Append(buf)
		}
	})
}

func BenchmarkReply(b *testing.B) {
	buf := inBuffer(b, "write request")
	b.ReportAllocs()
	for b.Loop() {
		Reply(buf, macTarget, Addr{1, 1})
		PutResult(buf, StatusDRDY, 0, 0)
		Pad(buf[:ATADataOffset])
	}
}

func BenchmarkDescribe(b *testing.B) {
	buf := make([]byte, 0, 1024)
	f := kinds()[0].b
	b.ReportAllocs()
	for b.Loop() {
		AppendDescription(buf, f)
	}
}
