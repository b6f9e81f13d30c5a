package attach_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// A script is a client that has said everything beforehand.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }

const exportName, exportText = "e7.3", "a disk"

func negotiate(said []byte) (structured bool, out []byte, left int, err error) {
	s := &script{in: bytes.NewReader(said)}
	structured, err = attach.NegotiateNBD(s, exportName, exportText, 1<<30, attach.Info{
		MaxRequest: 64 << 10, Preferred: 8704, Trim: true, TrimZeroes: true,
	})
	return structured, s.out.Bytes(), s.in.Len(), err
}

// say joins client flags and options.
func say(flags uint32, options ...[]byte) []byte {
	return append(be32(flags), bytes.Join(options, nil)...)
}

// choice is the data of INFO and GO.
func choice(name string, wanted ...uint16) []byte {
	b := append(be32(uint32(len(name))), name...)
	b = append(b, be16(uint16(len(wanted)))...)
	for _, w := range wanted {
		b = append(b, be16(w)...)
	}
	return b
}

// A reply is one option reply, as text: "7 ACK", or "6 INFO 3: 00...".
func replies(t testing.TB, out []byte) []string {
	t.Helper()
	if len(out) < 18 || string(out[:16]) != "NBDMAGICIHAVEOPT" || binary.BigEndian.Uint16(out[16:]) != 3 {
		t.Fatalf("greeting %x", out)
	}
	names := map[uint32]string{1: "ACK", 2: "SERVER", 3: "INFO",
		1<<31 | 1: "UNSUP", 1<<31 | 3: "INVALID", 1<<31 | 6: "UNKNOWN", 1<<31 | 9: "TOO_BIG"}
	var all []string
	for out = out[18:]; len(out) >= 20 && binary.BigEndian.Uint64(out) == replyMagic; {
		option, kind := binary.BigEndian.Uint32(out[8:]), binary.BigEndian.Uint32(out[12:])
		n := int(binary.BigEndian.Uint32(out[16:]))
		if n > len(out)-20 {
			t.Fatalf("reply promises %d bytes and has %d", n, len(out)-20)
		}
		text := fmt.Sprintf("%d %s", option, names[kind])
		if kind == 3 {
			text += fmt.Sprintf(" %d", binary.BigEndian.Uint16(out[20:]))
		}
		all = append(all, text)
		out = out[20+n:]
	}
	if len(out) > 0 {
		all = append(all, fmt.Sprintf("%d bytes", len(out)))
	}
	return all
}

// TestNBDNegotiation walks through everything a client may say, and what it may
// not, and what it gets for that.
func TestNBDNegotiation(t *testing.T) {
	const entered, refused = "entered", "refused"
	goThere := nbdOption(7, choice(""))
	rows := []struct {
		name string
		said []byte
		want string // replies
		end  string
	}{
		{"go to the default export", say(3, goThere), "7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go by name", say(3, nbdOption(7, choice(exportName))), "7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go, wanting everything", say(3, nbdOption(7, choice("", 0, 1, 2, 3))),
			"7 INFO 0, 7 INFO 3, 7 INFO 1, 7 INFO 2, 7 ACK", entered},
		{"go, wanting what nobody knows, and twice", say(3, nbdOption(7, choice("", 999, 1, 1))),
			"7 INFO 0, 7 INFO 3, 7 INFO 1, 7 ACK", entered},
		{"info, then go", say(3, nbdOption(6, choice("")), goThere),
			"6 INFO 0, 6 INFO 3, 6 ACK, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"structured replies, then go", say(3, nbdOption(8, nil), goThere), "8 ACK, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"the oldest way", say(3, nbdOption(1, []byte(exportName))), "10 bytes", entered},
		{"the oldest way with zeroes", say(1, nbdOption(1, nil)), "134 bytes", entered},
		{"list, then abort", say(3, nbdOption(3, nil), nbdOption(2, nil)), "3 SERVER, 3 ACK, 2 ACK", refused},
		{"abort with data, which is ignored", say(3, nbdOption(2, []byte("bye"))), "2 ACK", refused},
		{"TLS, which there is not", say(3, nbdOption(5, nil), goThere), "5 UNSUP, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"metadata, which there is not", say(3, nbdOption(10, choice("")), nbdOption(9, nil), goThere),
			"10 UNSUP, 9 UNSUP, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"extended headers, which there are not", say(3, nbdOption(11, nil), goThere), "11 UNSUP, 7 INFO 0, 7 INFO 3, 7 ACK", entered},

		{"a wrong name, then the right one", say(3, nbdOption(7, choice("e9.9")), goThere),
			"7 UNKNOWN, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"info about a wrong name", say(3, nbdOption(6, choice("no")), goThere), "6 UNKNOWN, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"the oldest way with a wrong name", say(3, nbdOption(1, []byte("e9.9"))), "", refused},
		{"list with data", say(3, nbdOption(3, []byte("x")), goThere), "3 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"TLS with data", say(3, nbdOption(5, []byte("x")), goThere), "5 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"structured replies with data", say(3, nbdOption(8, []byte("x")), goThere), "8 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go without data", say(3, nbdOption(7, nil), goThere), "7 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go with a name longer than its data", say(3, nbdOption(7, append(be32(100), 0, 0)), goThere),
			"7 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go with a name of 4 GiB", say(3, nbdOption(7, append(be32(1<<32-1), 0, 0)), goThere),
			"7 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go with fewer wishes than counted", say(3, nbdOption(7, append(be32(0), 0, 9)), goThere),
			"7 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"go with more behind its wishes", say(3, nbdOption(7, append(be32(0), 0, 0, 1)), goThere),
			"7 INVALID, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"an option that is too long", say(3, nbdOption(77, make([]byte, 20<<10)), goThere),
			"77 TOO_BIG, 7 INFO 0, 7 INFO 3, 7 ACK", entered},
		{"an option that is absurdly long", append(say(3), append(nbdOption(77, nil)[:12], be32(1<<31)...)...), "", refused},
		{"a name that is too long, the oldest way", say(3, nbdOption(1, make([]byte, 20<<10))), "", refused},
		{"an option without its magic number", say(3, make([]byte, 16)), "", refused},
		{"a client flag that nobody knows", say(7, goThere), "", refused},
		{"a client that is not fixed newstyle", say(0, nbdOption(1, nil)), "", refused},
		{"nothing at all", nil, "", refused},
		{"haggling without end", say(3, bytes.Repeat(nbdOption(3, nil), 1000)),
			strings.TrimSuffix(strings.Repeat("3 SERVER, 3 ACK, ", 256), ", "), refused},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			const next = "what follows is not for the negotiation"
			structured, out, left, err := negotiate(append(slices.Clone(row.said), next...))
			if row.name == "nothing at all" {
				_, out, left, err = negotiate(nil)
			}
			if got := strings.Join(replies(t, out), ", "); got != row.want {
				t.Errorf("answers %q,\nwant    %q", got, row.want)
			}
			switch {
			case row.end == refused && err == nil:
				t.Error("the client was let in")
			case row.end == entered && err != nil:
				t.Errorf("the client was not let in: %v", err)
			case row.end == entered && left != len(next):
				t.Errorf("%d bytes of the transmission phase left, want %d", left, len(next))
			}
			if want := strings.Contains(row.want, "8 ACK"); structured != want {
				t.Errorf("structured replies: %v, want %v", structured, want)
			}
		})
	}
}

// TestNBDTellsTheTruth: size, flags and block sizes are what the disk says.
func TestNBDTellsTheTruth(t *testing.T) {
	_, out, _, err := negotiate(say(3, nbdOption(7, choice("", 1, 2))))
	if err != nil {
		t.Fatal(err)
	}
	const hasFlags, flush, fua, trim, zeroes, multi, fast = 1, 4, 8, 32, 64, 256, 2048
	info := func(kind uint16, payload ...[]byte) []byte {
		return append(be16(kind), bytes.Join(payload, nil)...)
	}
	for name, want := range map[string][]byte{
		"export":      info(0, be64(1<<30), be16(hasFlags|flush|fua|trim|zeroes|multi|fast)),
		"name":        info(1, []byte(exportName)),
		"description": info(2, []byte(exportText)),
		// 8704 bytes are 17 sectors; clients want a power of two (H21).
		"block sizes": info(3, be32(512), be32(8192), be32(32<<20)),
	} {
		if !bytes.Contains(out, append(be32(uint32(len(want))), want...)) {
			t.Errorf("%s: %x is not told in %x", name, want, out)
		}
	}
}

// TestNBDNegotiationCutShort: a client that goes away after any byte is an
// error, never a client.
func TestNBDNegotiationCutShort(t *testing.T) {
	said := say(3, nbdOption(8, nil), nbdOption(3, nil), nbdOption(6, choice("", 3)), nbdOption(7, choice(exportName, 1, 3)))
	for n := range said {
		if _, _, _, err := negotiate(said[:n]); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d of %d bytes: %v", n, len(said), err)
		}
	}
}

// TestNBDHandshakeTimeout: a client that connects and says nothing does not
// keep its place.
func TestNBDHandshakeTimeout(t *testing.T) {
	noLeaks(t)
	disk := newDisk(t, attachtest.Config{Size: 1 << 20})
	n, socket := serveNBD(t, attach.NBDConfig{Disk: disk, HandshakeTimeout: 1})
	connectNBD(t, socket).gone()
	if !eventually(func() bool { return n.Stats().Refused == 1 }) {
		t.Errorf("%+v", n.Stats())
	}
}

// FuzzNBDNegotiation: whatever a client says, the server answers in whole
// replies, reads nothing beyond, and lets in only who chose the export.
func FuzzNBDNegotiation(f *testing.F) {
	f.Add(say(3, nbdOption(8, nil), nbdOption(7, choice(exportName, 1, 3))))
	f.Add(say(1, nbdOption(1, nil)))
	f.Add(say(3, nbdOption(3, nil), nbdOption(5, nil), nbdOption(6, choice("x", 0, 9)), nbdOption(2, nil)))
	f.Add(say(3, nbdOption(99, make([]byte, 9000))))
	f.Fuzz(func(t *testing.T, said []byte) {
		structured, out, left, err := negotiate(said)
		all := replies(t, out)
		if err != nil {
			return
		}
		chosen := said[:len(said)-left]
		last := all[len(all)-1]
		if last != "7 ACK" && last != "10 bytes" && last != "134 bytes" {
			t.Errorf("let in after %q", last)
		}
		if structured && !bytes.Contains(chosen, nbdOption(8, nil)) {
			t.Error("structured replies without being asked for")
		}
		// The same client, saying no more than that, is let in as well.
		if s, again, _, err := negotiate(chosen); err != nil || s != structured || !bytes.Equal(again, out) {
			t.Errorf("a second time: %v", err)
		}
	})
}
