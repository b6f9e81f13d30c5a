package smart

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/initiatortest"
)

var (
	us     = frame.MAC{2, 0, 0, 0, 0, 1}
	target = initiator.Target{Addr: frame.Addr{Shelf: 1, Slot: 1}, MAC: frame.MAC{2, 0, 0, 0, 0, 2}}
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Command{
		"read_data": {kinds[0], 0}, "read_log:0x10": {kinds[2], 16}, "write_log": {kinds[3], 0}, "return_status": {kinds[6], 0},
		"read_data:1": {}, "read_log:256": {}, "format": {}, "": {},
	} {
		if got, err := Parse(text); got != want || (err != nil) != (want == Command{}) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// serve plays a disk with SMART; lba is what return_status answers.
func serve(t *testing.T, l link.Link, lba uint64, sector []byte) <-chan []byte {
	written := make(chan []byte, 1)
	ended := make(chan struct{})
	go func() { // ends when l is closed
		defer close(ended)
		for {
			bufs := [][]byte{make([]byte, 2000)}
			if n, err := l.Recv(bufs, -1); err != nil {
				return
			} else if n == 0 {
				continue
			}
			h, arg, err := frame.Parse(bufs[0])
			if err != nil || h.Command != aoe.CommandIssueATACommand {
				continue
			}
			a, data, err := frame.ParseATA(arg)
			if err != nil || a.Op != frame.OpSMART || a.LBA&signatureMask != signature {
				t.Errorf("asked with %+v, %v", a, err)
				return
			}
			if a.AFlags&frame.AFlagWrite != 0 {
				written <- append([]byte{byte(a.LBA)}, data[:512]...)
			}
			if a.Feature == returnStatus {
				a.LBA = lba
			}
			a.Op = frame.StatusDRDY
			h.Dst, h.Src, h.Flags = h.Src, h.Dst, frame.FlagResponse
			l.Send([][]byte{append(a.Append(h.Append(nil)), sector...)})
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return written
}

func TestCommands(t *testing.T) {
	sector := bytes.Repeat([]byte{7}, 512)
	for _, row := range []struct {
		name    string
		lba     uint64
		data    []byte
		verdict string
		fails   bool
	}{
		{"read_data", 0, sector, "", false},
		{"read_log:3", 0, sector, "", false},
		{"write_log:3", 0, nil, "", false},
		{"enable", 0, nil, "", false},
		{"return_status", signature, nil, "no threshold", false},
		{"return_status", inverted, nil, "threshold exceeded", false},
		{"return_status", 0, nil, "", true},
	} {
		sw := linktest.NewSwitch(linktest.Config{})
		written := serve(t, sw.Port(target.MAC), row.lba, sector)
		l := sw.Port(us)
		c, err := Parse(row.name)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		if c.Writes() {
			out = bytes.Repeat([]byte{9}, 512)
		}
		got, err := Send(t.Context(), l, target, c, out)
		if (err != nil) != row.fails || !bytes.Equal(got.Data, row.data) || !strings.HasPrefix(got.Verdict, row.verdict) {
			t.Errorf("%s: %+v, %v", row.name, got, err)
		}
		if got.Failing != strings.HasPrefix(row.verdict, "threshold") {
			t.Errorf("%s: failing %v", row.name, got.Failing)
		}
		if c.Writes() {
			if w := <-written; !bytes.Equal(w, append([]byte{3}, out...)) {
				t.Errorf("wrote log %d, %d bytes", w[0], len(w))
			}
		}
		l.Close()
	}
}

// TestDiskWithoutSMART aborts, which is not silence.
func TestDiskWithoutSMART(t *testing.T) {
	sw := linktest.NewSwitch(linktest.Config{})
	initiatortest.Start(t, sw.Port(target.MAC), initiatortest.Config{Addr: target.Addr})
	l := sw.Port(us)
	defer l.Close()
	c, err := Parse("read_data")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Send(t.Context(), l, target, c, nil)
	if e, ok := errors.AsType[*initiator.ATAError](err); !ok || e.Reg != frame.ErrorABRT {
		t.Error(err)
	}
}
