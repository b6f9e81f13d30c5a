package target_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
	"aoe/target/store"
)

// readPeer reads a capture of package frame: what a peer asked, and what it was
// answered, in pairs.
func readPeer(t *testing.T, file string) (asked, answered [][]byte) {
	t.Helper()
	text, err := os.ReadFile("../frame/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		var b []byte
		for line := range strings.Lines(block) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			digits, times, _ := strings.Cut(strings.TrimSpace(line), " x")
			part, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			n := 1
			if times != "" {
				if n, err = strconv.Atoi(times); err != nil {
					t.Fatal(err)
				}
			}
			b = append(b, bytes.Repeat(part, n)...)
		}
		switch {
		case b == nil: // about the file
		case b[14]&frame.FlagResponse == 0:
			asked = append(asked, b)
		default:
			answered = append(answered, b)
		}
	}
	if len(asked) < 4 || len(asked) != len(answered) {
		t.Fatalf("%s has %d requests and %d answers", file, len(asked), len(answered))
	}
	return asked, answered
}

// forgetInstance takes out of an answer to IDENTIFY what was not told yet when the
// guests asked, words 129 to 139, and its part in the checksum.
func forgetInstance(t *testing.T, answer []byte) {
	t.Helper()
	_, d := peerATA(answer)
	if frame.ReadInstance(d) == 0 {
		t.Errorf("no instance in %s", frame.Describe(answer))
	}
	for i := 2 * 129; i < 2*140; i++ {
		d[frame.IdentifyLen-1] += d[i]
		d[i] = 0
	}
}

// TestGuestsAreAnswered: what Linux's driver and iPXE asked of aoe serve in a
// virtual machine is answered as it was then, byte for byte, but for the instance and the verifier,
// when they were content with it. What they read is put where they read it, and nowhere else; what they
// wrote is there.
func TestGuestsAreAnswered(t *testing.T) {
	for file, mtu := range map[string]int{"linux.txt": 9000, "ipxe.txt": 1500} {
		t.Run(file, func(t *testing.T) {
			asked, answered := readPeer(t, file)
			disk := store.Memory(diskOf(t, answered))
			for i := range asked {
				a, _ := peerATA(asked[i])
				_, got := peerATA(answered[i])
				if a.Op == frame.OpReadExt {
					if _, err := disk.WriteAt(got[:int(a.Count)*frame.SectorSize], int64(a.LBA)*frame.SectorSize); err != nil {
						t.Fatal(err)
					}
				}
			}
			r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: disk, Serial: "guest"})
			r.tap.change(func(s *link.State) { s.MTU = mtu })
			r.announced(r.tap)
			for i, f := range asked {
				if !bytes.Equal(f[:6], frame.Broadcast[:]) {
					copy(f[:6], macTarget[:])
				}
				want := answered[i]
				copy(want[6:12], macTarget[:])
				got := r.ask(f)
				if a, _ := peerATA(f); a.Op == frame.OpIdentify {
					forgetInstance(t, got)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s\nis answered with\n%s\nand not with\n%s\n got %x\nwant %x",
						frame.Describe(f), frame.Describe(got), frame.Describe(want), got, want)
				}
				a, data := peerATA(f)
				if a.Op != frame.OpWriteExt {
					continue
				}
				wrote := make([]byte, int(a.Count)*frame.SectorSize)
				if _, err := disk.ReadAt(wrote, int64(a.LBA)*frame.SectorSize); err != nil || !bytes.Equal(wrote, data[:len(wrote)]) {
					t.Errorf("%s is not on the disk (%v)", frame.Describe(f), err)
				}
			}
		})
	}
}

// peerATA is the ATA argument of a frame and what is behind it, if it has one.
func peerATA(f []byte) (a frame.ATA, rest []byte) {
	h, arg, err := frame.Parse(f)
	if err != nil || h.Command != aoe.CommandIssueATACommand {
		return frame.ATA{}, nil
	}
	a, rest, err = frame.ParseATA(arg)
	if err != nil {
		return frame.ATA{}, nil
	}
	return a, rest
}

// diskOf is the size of the disk that was identified.
func diskOf(t *testing.T, answered [][]byte) int64 {
	t.Helper()
	for _, f := range answered {
		if _, data := peerATA(f); len(data) >= frame.SectorSize {
			if id, err := frame.ParseIdentify(data[:frame.SectorSize]); err == nil && id.Serial == "guest" {
				return int64(id.Sectors) * frame.SectorSize
			}
		}
	}
	t.Fatal("no disk was identified")
	return 0
}
