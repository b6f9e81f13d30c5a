package guest

import (
	"bytes"
	"testing"
)

// TestBootSector: what a BIOS wants of a boot sector, and that program, packet and
// messages do not lie upon each other.
func TestBootSector(t *testing.T) {
	s := bootSector()
	if len(s) != 512 || s[510] != 0x55 || s[511] != 0xaa {
		t.Fatalf("%d bytes that end with %x", len(s), s[510:])
	}
	if !bytes.HasPrefix(s, bootProgram) || len(bootProgram) > 0x100 {
		t.Errorf("the program has %d bytes and is not whole", len(bootProgram))
	}
	// The program counts its steps in this digit.
	if at := 0x7d64 - bootAt; s[at] != '1' || !bytes.HasSuffix(s[:at], []byte("int 13h, step ")) {
		t.Errorf("the digit of the step is %q behind %q", s[at], s[at-14:at])
	}
	for _, at := range []int{bootBegins, bootFailed, bootOK} {
		text, _, ended := bytes.Cut(s[at-bootAt:], []byte{0})
		if !ended || !bytes.Contains(text, []byte("[bios] guest: ")) {
			t.Errorf("at %#x is %q", at, text)
		}
	}
}

// TestCheckBooted: it is not content with a disk that nobody wrote to, nor with one
// wrong bit.
func TestCheckBooted(t *testing.T) {
	disk := append(bootDisk(), make([]byte, bootSectors*512)...)
	if checkBooted(disk) == nil {
		t.Error("a disk that nobody wrote to is good")
	}
	for i := range bootSectors * 512 {
		disk[bootTo*512+i] = ^disk[bootFrom*512+i]
	}
	if err := checkBooted(disk); err != nil {
		t.Error(err)
	}
	disk[(bootTo+bootSectors)*512-1] ^= 1
	if checkBooted(disk) == nil {
		t.Error("a wrong bit is good")
	}
}
