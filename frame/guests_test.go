package frame

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mdlayher/aoe"
)

// guests are the peers that were captured in virtual machines, using a disk of
// aoe serve: testdata/linux.txt and ipxe.txt.
var guests = []string{"linux.txt", "ipxe.txt"}

// TestGuestsEncodeTheSame: whatever Linux's driver and iPXE say to a target is
// understood, and we would have put it into the same bytes; and so are the answers
// that they were content with.
func TestGuestsEncodeTheSame(t *testing.T) {
	for _, file := range guests {
		all := readFrames(t, file)
		if len(all) < 8 {
			t.Fatalf("%s has %d frames: fewer than were captured", file, len(all))
		}
		for _, f := range all {
			got, want := reencode(t, f.b), bytes.Clone(f.b)
			if aoe.Command(want[19]) == aoe.CommandQueryConfigInformation && want[14]&FlagResponse == 0 {
				want[29] |= Version << 4 // initiators leave it zero, as aoetools do
			}
			if !bytes.HasPrefix(want, got) {
				t.Errorf("%s: %s:\n got %x\nwant %x", file, f.name, got, want[:min(len(want), len(got))])
			}
		}
	}
}

// TestIPXESendsShortFrames: a config query of 32 bytes, which no network card has
// padded, and ATA requests of 36.
func TestIPXESendsShortFrames(t *testing.T) {
	lengths := map[string]int{"config Read: iPXE": 32, "IDENTIFY DEVICE: iPXE": 36, "READ SECTORS EXT: iPXE": 36}
	for _, f := range readFrames(t, "ipxe.txt") {
		if want, ok := lengths[f.name]; ok && len(f.b) != want {
			t.Errorf("%s has %d bytes, want %d", f.name, len(f.b), want)
		}
	}
}

// TestGuestsUseTheWholeFrame: Linux's driver writes a page in one frame where the
// path takes it, iPXE two sectors, whatever the path takes.
func TestGuestsUseTheWholeFrame(t *testing.T) {
	for file, want := range map[string]uint8{"linux.txt": 8, "ipxe.txt": 2} {
		writes := 0
		for _, f := range readFrames(t, file) {
			if !strings.HasPrefix(f.name, "WRITE") || strings.HasSuffix(f.name, "aoe serve") {
				continue
			}
			a, rest, err := ParseATA(f.b[HeaderLen:])
			if err != nil || a.Op != OpWriteExt || a.Count != want || len(rest) != int(want)*SectorSize {
				t.Errorf("%s: %s: %+v, %v, with %d bytes", file, f.name, a, err, len(rest))
			}
			writes++
		}
		if writes == 0 {
			t.Errorf("%s has no write", file)
		}
	}
}
