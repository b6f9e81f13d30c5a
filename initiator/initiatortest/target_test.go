package initiatortest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"

	"github.com/mdlayher/aoe"
)

var (
	ours   = frame.MAC{2, 0, 0, 0, 0, 1}
	theirs = frame.MAC{2, 0, 0, 0, 0, 2}
	e11    = frame.Addr{Shelf: 1, Slot: 1}
)

func command(op frame.Opcode, lba uint64, count uint8, data ...byte) []byte {
	h := frame.Header{Dst: theirs, Src: ours, Addr: e11, Tag: 7}
	a := frame.NewATA(op, lba, count)
	if op == frame.OpTrim {
		a.Feature = frame.FeatureTrim
	}
	return append(a.Append(h.Append(nil)), data...)
}

// TestAnswers: each request and what is said to it.
func TestAnswers(t *testing.T) {
	sector := bytes.Repeat([]byte{5}, 512)
	query := frame.Header{Dst: theirs, Src: ours, Addr: frame.Anywhere, Command: aoe.CommandQueryConfigInformation, Tag: 9}
	trim := frame.TrimRange{LBA: 1, Sectors: 1}.Append(nil)
	trim = append(trim, make([]byte, 512-len(trim))...)
	target := New(Config{Addr: e11, MAC: theirs})
	for _, row := range []struct {
		name    string
		request []byte
		want    string
	}{
		{"write", command(frame.OpWriteExt, 1, 1, sector...), "ok 60"},
		{"read", command(frame.OpRead, 1, 1), "ok 548"},
		{"trim", command(frame.OpTrim, 0, 1, trim...), "ok 60"},
		{"flush", command(frame.OpFlush, 0, 0), "ok 60"},
		{"identify", command(frame.OpIdentify, 0, 1), "ok 548"},
		{"check power", command(frame.OpCheckPower, 0, 0), "ok 60"},
		{"beyond the end", command(frame.OpReadExt, 2048, 1), "status 0x41"},
		{"no sectors", command(frame.OpRead, 0, 0), "status 0x41"},
		{"too little data", command(frame.OpWrite, 0, 2, sector...), "status 0x41"},
		{"unknown ATA command", command(0xff, 0, 0), "status 0x41"},
		{"half a command", command(frame.OpRead, 0, 1)[:28], "error 2"},
		{"unknown AoE command", (frame.Header{Addr: e11, Command: 99}).Append(nil), "error 1"},
		{"query", frame.Config{}.Append(query.Append(nil)), "config"},
		{"half a query", query.Append(nil), "error 2"},
		{"another disk", frame.Header{Addr: frame.Addr{Shelf: 2}}.Append(nil), "silence"},
		{"a response", frame.Header{Addr: e11, Flags: frame.FlagResponse}.Append(nil), "silence"},
		{"noise", []byte{1, 2, 3}, "silence"},
	} {
		if got := summary(target.Answer(row.request)); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if s := target.Seen(); s.Writes != 1 || s.Reads != 1 || s.Trims != 1 || s.Flushes != 1 || s.Queries != 1 {
		t.Errorf("seen: %+v", s)
	}
	if got := target.Bytes(512, 512); !bytes.Equal(got, make([]byte, 512)) {
		t.Error("what was trimmed is still there")
	}
}

func summary(replies [][]byte) string {
	if len(replies) == 0 {
		return "silence"
	}
	h, arg, err := frame.Parse(replies[0])
	switch {
	case err != nil || !h.IsResponse() || h.Addr != e11:
		return "no reply"
	case h.IsError():
		return fmt.Sprintf("error %d", uint8(h.Error))
	case h.Command == aoe.CommandQueryConfigInformation:
		return "config"
	}
	a, _, _ := frame.ParseATA(arg)
	if a.Status() != frame.StatusDRDY {
		return fmt.Sprintf("status %#02x", a.Status())
	}
	return fmt.Sprintf("ok %d", len(replies[0]))
}

// TestFaults: each way to misbehave, over ten reads.
func TestFaults(t *testing.T) {
	for _, row := range []struct {
		name   string
		faults Faults
		want   string
	}{
		{"none", Faults{}, "10 replies, 10 executed"},
		{"drop", Faults{DropEvery: 5}, "8 replies, 10 executed"},
		{"duplicate", Faults{DuplicateEvery: 5}, "12 replies, 10 executed"},
		{"ignore", Faults{IgnoreEvery: 5}, "8 replies, 8 executed"},
		{"silent", Faults{Silent: true}, "0 replies, 0 executed"},
		{"queries only", Faults{QueriesOnly: true}, "0 replies, 0 executed"},
		{"swallow", Faults{Swallow: 20}, "0 replies, 0 executed"},
		{"refuse", Faults{AoEError: 3}, "10 replies, 0 executed"},
		{"fail", Faults{ATAError: frame.ErrorUNC}, "10 replies, 0 executed"},
	} {
		target := New(Config{Addr: e11, MAC: theirs, Faults: row.faults})
		replies := 0
		for range 10 {
			replies += len(target.Answer(command(frame.OpRead, 0, 1)))
		}
		if got := fmt.Sprintf("%d replies, %d executed", replies, target.Seen().Reads); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

// TestDelayedReplies: a slow flush does not hold up a read that comes after it.
func TestDelayedReplies(t *testing.T) {
	sw := linktest.NewSwitch(linktest.Config{})
	Start(t, sw.Port(theirs), Config{Addr: e11, Faults: Faults{FlushDelay: 20 * time.Millisecond}})
	l := sw.Port(ours)
	defer l.Close()
	if _, err := l.Send([][]byte{command(frame.OpFlush, 0, 0), command(frame.OpRead, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	var lengths []int
	for len(lengths) < 2 {
		bufs := [][]byte{make([]byte, 1600), make([]byte, 1600)}
		n, err := l.Recv(bufs, 10*time.Second)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		for _, b := range bufs[:n] {
			lengths = append(lengths, len(b))
		}
	}
	if lengths[0] != 548 || lengths[1] != 60 {
		t.Errorf("replies of %v bytes, want the read's first", lengths)
	}
}
