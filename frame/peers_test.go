package frame

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mdlayher/aoe"
)

var update = flag.Bool("update", false, "write testdata/peers.said anew, to be read before it is committed")

// A peerFrame is a frame of testdata/peers.txt: what a real peer sent.
type peerFrame struct {
	name string // the command and who speaks; not unique
	b    []byte
}

// peerFrames are the frames of testdata/peers.txt.
func peerFrames(t testing.TB) []peerFrame {
	t.Helper()
	all := readFrames(t, "peers.txt")
	if len(all) < 90 {
		t.Fatalf("peers.txt has %d frames: fewer than were captured", len(all))
	}
	return all
}

// readFrames reads a file of testdata: a comment for each frame, then its bytes in
// hexadecimal, blanks where a reader wants them. A line that ends in "xN" stands
// N times. Comments without a frame are about the file.
func readFrames(t testing.TB, file string) []peerFrame {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []peerFrame
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		line := sc.Text()
		if name, ok := strings.CutPrefix(line, "# "); ok {
			all = append(all, peerFrame{name: name})
			continue
		}
		line, times, ok := strings.Cut(line, " x")
		n := 1
		if ok {
			if n, err = strconv.Atoi(times); err != nil {
				t.Fatalf("%s: %q: %v", file, sc.Text(), err)
			}
		}
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil {
			t.Fatalf("%s: %q: %v", file, sc.Text(), err)
		}
		last := &all[len(all)-1]
		last.b = append(last.b, bytes.Repeat(b, n)...)
	}
	return slices.DeleteFunc(all, func(f peerFrame) bool { return f.b == nil })
}

// peer is the only or the first frame with the given name.
func peer(t testing.TB, name string) []byte {
	t.Helper()
	for _, f := range peerFrames(t) {
		if f.name == name {
			return f.b
		}
	}
	t.Fatalf("peers.txt has no frame %q", name)
	return nil
}

// reencode parses b and encodes what it found. What it cannot know, the data
// behind an ATA argument and what is behind the fields, is not part of it.
func reencode(t testing.TB, b []byte) []byte {
	t.Helper()
	h, arg, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	again := h.Append(nil)
	switch h.Command {
	case aoe.CommandIssueATACommand:
		a, _, err := ParseATA(arg)
		if err != nil {
			t.Fatal(err)
		}
		return a.Append(again)
	case aoe.CommandQueryConfigInformation:
		c, err := ParseConfig(arg)
		if err != nil {
			t.Fatal(err)
		}
		return c.Append(again)
	case aoe.CommandMACMaskList:
		parse := ParseMask
		if h.IsResponse() {
			parse = ParseMaskReply
		}
		m, err := parse(arg)
		if err != nil {
			t.Fatal(err)
		}
		return appendMask(again, m)
	case aoe.CommandReserveRelease:
		r, err := ParseReserve(arg)
		if err != nil {
			t.Fatal(err)
		}
		return appendReserve(again, r)
	}
	return again
}

func appendMask(b []byte, m Mask) []byte {
	b = m.Append(b)
	for i := range m.Len() {
		b = m.At(i).Append(b)
	}
	return b
}

func appendReserve(b []byte, r Reserve) []byte {
	b = r.Append(b)
	for i := range r.Len() {
		b = r.At(i).Append(b)
	}
	return b
}

// TestPeersEncodeTheSame: whatever vblade and aoetools say is understood, and we
// would have put it into the same bytes. The only exceptions are versions that
// they leave zero: vblade's in the header of its announcement, aoetools' in the
// config argument of a request.
func TestPeersEncodeTheSame(t *testing.T) {
	zeroVersions := 0
	for _, f := range peerFrames(t) {
		got, want := reencode(t, f.b), bytes.Clone(f.b)
		if want[14]>>4 == 0 {
			want[14] |= Version << 4
			zeroVersions++
			if f.name != "vblade 1 1 t0 disk.img: vblade" {
				t.Errorf("%s: version 0 in the header", f.name)
			}
		}
		if aoe.Command(want[19]) == aoe.CommandQueryConfigInformation && want[29]>>4 == 0 {
			want[29] |= Version << 4
			if want[14]&FlagResponse != 0 {
				t.Errorf("%s: version 0 in a config reply", f.name)
			}
		}
		if !bytes.HasPrefix(want, got) {
			t.Errorf("%s:\n got %x\nwant %x", f.name, got, want[:min(len(want), len(got))])
		}
	}
	if zeroVersions != 1 {
		t.Errorf("%d frames with version 0, want vblade's announcement", zeroVersions)
	}
}

// TestPeersSay: the values in every frame, as Describe shows them. They stand in
// testdata/peers.said beside the name of each frame, to be read by people, and
// are checked by another decoder in FuzzMdlayher.
func TestPeersSay(t *testing.T) {
	var said strings.Builder
	for _, f := range peerFrames(t) {
		said.WriteString(f.name + "\n\t" + Describe(f.b) + "\n")
	}
	const path = "testdata/peers.said"
	if *update {
		if err := os.WriteFile(path, []byte(said.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(said.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("peers.said:%d: want %s\n got %s", i+1, line, got[min(i, len(got)-1)])
		}
	}
}

// TestVbladeAnnouncesItself: a reply that nobody asked for, and not one of
// version 1. Discovery must not insist on the version.
func TestVbladeAnnouncesItself(t *testing.T) {
	h, arg, err := Parse(peer(t, "vblade 1 1 t0 disk.img: vblade"))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		Dst:     Broadcast,
		Src:     MAC{2, 0, 0, 0, 0, 1},
		Version: 0,
		Flags:   FlagResponse,
		Addr:    Addr{1, 1},
		Command: aoe.CommandQueryConfigInformation,
	}
	if h != want {
		t.Errorf("got %+v\nwant %+v", h, want)
	}
	c, err := ParseConfig(arg)
	if err != nil || c.BufferCount != 16 || c.Firmware != 0x4019 || c.MaxSectorsPerFrame() != 4 || c.Version != Version {
		t.Errorf("config %+v, %v", c, err)
	}
}

// TestAoecfgSendsItsStack: a kilobyte behind the string, which means nothing.
// aoeping sends one that it counts, in a read, where it means nothing either.
func TestAoecfgSendsItsStack(t *testing.T) {
	b := peer(t, "aoecfg -t 1 -c set -s shelf-one 1 1 i0: aoecfg")
	c, err := ParseConfig(b[HeaderLen:])
	if err != nil || c.Sub != aoe.ConfigCommandSet || string(c.String) != "shelf-one" || len(b) < 1000 {
		t.Errorf("got %+v, %v, of %d bytes", c, err, len(b))
	}
	b = peer(t, "aoeping -v 1 1 i0: aoeping")
	c, err = ParseConfig(b[HeaderLen:])
	if err != nil || c.Sub != aoe.ConfigCommandRead || len(c.String) != MaxConfigString {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestSancheckPadsIdentify: aoe-sancheck finds out how large frames may be by
// sending IDENTIFY DEVICE with as many sectors of zeros as the MTU holds.
func TestSancheckPadsIdentify(t *testing.T) {
	for _, f := range peerFrames(t) {
		if f.name != "aoe-sancheck -v: aoe-sancheck" || f.b[19] != byte(aoe.CommandIssueATACommand) {
			continue
		}
		a, rest, err := ParseATA(f.b[HeaderLen:])
		if err != nil || a.Op != OpIdentify || a.Count != 1 || len(rest) != 4*SectorSize {
			t.Errorf("got %+v, %v, with %d bytes behind it, want 4 sectors first", a, err, len(rest))
		}
		return
	}
	t.Fatal("peers.txt has no IDENTIFY DEVICE of aoe-sancheck")
}

// TestVbladeIdentify: the IDENTIFY data of a real peer.
func TestVbladeIdentify(t *testing.T) {
	b := peer(t, "IDENTIFY DEVICE by a MAC that is not on the list: vblade")
	a, rest, err := ParseATA(b[HeaderLen:])
	if err != nil || a.Status() != StatusDRDY {
		t.Fatalf("got %+v, %v", a, err)
	}
	data, err := Data(rest, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseIdentify(data)
	want := Identify{
		Serial:             "1.1:golden",
		Firmware:           "V25",
		Model:              "Coraid EtherDrive vblade",
		Sectors:            8 << 20 / SectorSize,
		Flush:              true,
		PhysicalSectorSize: SectorSize,
	}
	if err != nil || got != want {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
	}

	// Initiators that are happy with vblade's words find the same in ours.
	ours := want.Append(nil)
	for _, w := range []int{wordMaxMultiple, wordCapabilities, wordCapabilities2, 60, 61,
		wordSupported1, wordSupported2, wordSupported3, wordEnabled1, wordEnabled2, wordEnabled3,
		100, 101, 102, 103} {
		if word(ours, w) != word(data, w) {
			t.Errorf("word %d: %#04x, vblade says %#04x", w, word(ours, w), word(data, w))
		}
	}
	if got, want := ours[2*wordSerial:2*wordMaxMultiple], data[2*wordSerial:2*wordMaxMultiple]; !bytes.Equal(got, want) {
		t.Errorf("words 10 to 46:\n%q, vblade says\n%q", got, want)
	}
}

// TestVbladeRefuses: errors of the three kinds: of AoE, of ATA and of a mask.
func TestVbladeRefuses(t *testing.T) {
	for name, want := range map[string]aoe.Error{
		"config sub-command 9: vblade":                              aoe.ErrorBadArgumentParameter,
		"aoecfg -t 1 -c set -s other 1 1 i0: vblade":                aoe.ErrorConfigStringPresent,
		"vendor command: vblade":                                    aoe.ErrorUnrecognizedCommandCode,
		"WRITE SECTORS EXT without its data: vblade":                aoe.ErrorBadArgumentParameter,
		"reserve set by a MAC that is not on the list: vblade":      aoe.ErrorTargetIsReserved,
		"READ SECTORS EXT by a MAC that is not on the list: vblade": aoe.ErrorTargetIsReserved,
		"reserve sub-command 9: vblade":                             aoe.ErrorBadArgumentParameter,
		"mask sub-command 9: vblade":                                aoe.ErrorBadArgumentParameter,
		"IDENTIFY DEVICE by a MAC that is not on the list: vblade":  0,
	} {
		h, _, err := Parse(peer(t, name))
		if err != nil || h.IsError() != (want != 0) || h.Error != want {
			t.Errorf("%s: got error %d, E %v, %v, want %d", name, h.Error, h.IsError(), err, want)
		}
	}
	a, _, err := ParseATA(peer(t, "READ SECTORS EXT behind the end: vblade")[HeaderLen:])
	if err != nil || a.Status() != StatusDRDY|StatusErr || a.Feature != ErrorIDNF {
		t.Errorf("read behind the end: %+v, %v", a, err)
	}
	m, err := ParseMaskReply(peer(t, "mask edit: bad directive behind a good one: vblade")[HeaderLen:])
	if err != nil || m.Error != aoe.MACMaskErrorBadCommand || m.Count != 1 || m.Len() != 0 {
		t.Errorf("bad directive: %+v, %v", m, err)
	}
}
