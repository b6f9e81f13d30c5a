package guest

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"aoe/frame"
)

var update = flag.Bool("update", false, "write what iPXE and Linux's driver send to frame/testdata anew, to be read before it is committed")

// A recorder keeps some of the frames that a peer and our target send each other:
// the first few requests of each kind, with the answers to them.
type recorder struct {
	peer string

	mu     sync.Mutex
	kinds  map[string]int
	wanted map[uint32]string // what the requests are called whose answers are to be kept
	text   strings.Builder
}

// keptOfKind is how many requests of each kind are kept.
const keptOfKind = 2

func newRecorder(peer string) *recorder {
	return &recorder{peer: peer, kinds: map[string]int{}, wanted: map[uint32]string{}}
}

func (r *recorder) record(b []byte) {
	h, _, err := frame.Parse(b)
	if err != nil {
		return // what is not AoE was not sent by either
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.IsResponse() {
		if kind, ok := r.wanted[h.Tag]; ok {
			delete(r.wanted, h.Tag)
			r.write(kind, "aoe serve", b)
		}
		return
	}
	// "... e1.1 tag 0x00000001 READ SECTORS EXT lba 64 count 2, length 36"
	_, said, _ := strings.Cut(frame.Describe(b), "tag ")
	_, kind, _ := strings.Cut(said, " ")
	kind, _, _ = strings.Cut(kind, " lba")
	kind, _, _ = strings.Cut(kind, ",")
	if r.kinds[kind]++; r.kinds[kind] <= keptOfKind {
		r.wanted[h.Tag] = kind
		r.write(kind, r.peer, b)
	}
}

// write appends a frame as testdata/peers.txt of package frame has it: the fields of
// the header on the first line, then the argument, 32 bytes a line. "xN" means
// that the line stands N times.
func (r *recorder) write(kind, who string, b []byte) {
	w := &r.text
	fmt.Fprintf(w, "\n# %s: %s\n", kind, who)
	fmt.Fprintf(w, "%x %x %x %x %x %x %x %x %x\n", b[:6], b[6:12], b[12:14], b[14:15], b[15:16], b[16:18], b[18:19], b[19:20], b[20:24])
	for rest := b[24:]; len(rest) > 0; {
		line := rest[:min(32, len(rest))]
		n := 0
		for bytes.HasPrefix(rest, line) {
			rest = rest[len(line):]
			n++
		}
		times := ""
		if n > 1 {
			times = fmt.Sprintf(" x%d", n)
		}
		fmt.Fprintf(w, "%x%s\n", line, times)
	}
}

// end checks that there is something of each kind, and with -update writes it to a
// file.
func (r *recorder) end(t *testing.T, name, what string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kind := range []string{"config Read", "IDENTIFY DEVICE", "READ SECTORS EXT", "WRITE SECTORS EXT"} {
		if r.kinds[kind] == 0 {
			t.Errorf("%s sent no %s: %v", r.peer, kind, r.kinds)
		}
	}
	if len(r.wanted) > 0 {
		t.Errorf("not answered: %v", r.wanted)
	}
	if *update {
		path := "../../../frame/testdata/" + name
		text := fmt.Sprintf("# %s. Made by go test -update ./cmd/internal/guest.\n%s", what, r.text.String())
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestRecorder: some of each kind, with their answers, and nothing else.
func TestRecorder(t *testing.T) {
	r := newRecorder("peer")
	for tag := range uint32(5) {
		b := frame.Pad(frame.ATA{Op: frame.OpReadExt, AFlags: frame.AFlagExtended, Count: 1}.Append(frame.Header{Tag: tag}.Append(nil)))
		r.record(b)
		b[14] |= frame.FlagResponse
		r.record(b)
		binary.BigEndian.PutUint32(b[frame.TagOffset:], 99)
		r.record(b)
	}
	said := r.text.String()
	if strings.Count(said, ": peer\n") != keptOfKind || strings.Count(said, ": aoe serve\n") != keptOfKind {
		t.Errorf("recorded\n%s", said)
	}
}
