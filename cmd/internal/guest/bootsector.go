package guest

import (
	"bytes"
	"fmt"

	"aoe/frame"
)

// Where things are on the disk that boots, in sectors. The boot program reads
// bootSectors from bootFrom through int 13h as every BIOS has had it since 1994
// (AH=42h), writes them with all bits inverted to bootTo (AH=43h), reads those
// again as BIOSes had it before (AH=02h), and compares.
const (
	bootFrom    = 8
	bootTo      = 16
	bootSectors = 8
)

// bootDisk is the beginning of a disk that a PC can boot from.
func bootDisk() []byte {
	disk := make([]byte, (bootFrom+bootSectors)*frame.SectorSize)
	copy(disk, bootSector())
	for i := range bootSectors * frame.SectorSize {
		disk[bootFrom*frame.SectorSize+i] = bootByte(i)
	}
	return disk
}

// bootByte is the i-th byte of what the boot program reads. No two sectors are
// alike.
func bootByte(i int) byte { return byte(i) ^ byte(i>>9)*0x1d }

// checkBooted looks at what the boot program wrote, at the beginning of disk.
func checkBooted(disk []byte) error {
	disk = disk[bootTo*frame.SectorSize:]
	for i := range bootSectors * frame.SectorSize {
		if want := ^bootByte(i); disk[i] != want {
			return fmt.Errorf("guest: byte %d of what the boot sector wrote is %#02x, not %#02x", i, disk[i], want)
		}
	}
	return nil
}

// Addresses that the boot program uses. A BIOS loads the boot sector to 0x7c00.
// Words are little-endian.
const (
	bootAt     = 0x7c00
	bootPacket = 0x7d10 // the packet that AH=42h and 43h take
	bootBegins = 0x7d20
	bootFailed = 0x7d40
	bootOK     = 0x7d90
)

// bootSector is a boot sector of a few lines. It tells by the serial port, in
// lines like those of a guest that runs Linux, and ends QEMU by its debug port.
func bootSector() []byte {
	s := make([]byte, frame.SectorSize)
	put := func(at int, b []byte) { copy(s[at-bootAt:], b) }
	put(bootAt, bootProgram)
	// Length of the packet; sectors; offset and segment of the buffer; first sector.
	put(bootPacket, []byte{16, 0, bootSectors, 0, 0x00, 0x80, 0, 0, bootFrom, 0, 0, 0, 0, 0, 0, 0})
	// On a line of its own: iPXE leaves the cursor where it likes.
	put(bootBegins, []byte("\n[bios] guest: begins\n\x00"))
	put(bootFailed, []byte("[bios] guest: failed: int 13h, step 1\n[bios] guest: exit status 1\n\x00"))
	put(bootOK, []byte("[bios] guest: exit status 0\n\x00"))
	put(bootAt+510, []byte{0x55, 0xaa})
	return s
}

// bootProgram is the boot sector's program in the 8086's language.
var bootProgram = bytes.Join([][]byte{
	{0x31, 0xc0},                   // xor  ax, ax
	{0x8e, 0xd8},                   // mov  ds, ax
	{0x8e, 0xc0},                   // mov  es, ax
	{0x8e, 0xd0},                   // mov  ss, ax
	{0xbc, 0x00, 0x7c},             // mov  sp, 0x7c00
	{0xfc},                         // cld
	{0x88, 0x16, 0x00, 0x7d},       // mov  [0x7d00], dl       ; the drive that was booted from
	{0xbe, 0x20, 0x7d},             // mov  si, bootBegins
	{0xe8, 0x67, 0x00},             // call print
	{0xb4, 0x42},                   // mov  ah, 0x42           ; step 1: read
	{0xe8, 0x58, 0x00},             // call packet
	{0x72, 0x49},                   // jc   bad
	{0xbe, 0x00, 0x80},             // mov  si, 0x8000
	{0xb9, 0x00, 0x10},             // mov  cx, 8*512
	{0xf6, 0x14},                   // invert: not byte [si]
	{0x46},                         // inc  si
	{0xe2, 0xfb},                   // loop invert
	{0xfe, 0x06, 0x64, 0x7d},       // inc  byte [0x7d64]      ; the step's digit. Step 2: write
	{0xc6, 0x06, 0x18, 0x7d, 0x10}, // mov byte [0x7d18], bootTo
	{0xb8, 0x00, 0x43},             // mov  ax, 0x4300
	{0xe8, 0x3c, 0x00},             // call packet
	{0x72, 0x2d},                   // jc   bad
	{0xfe, 0x06, 0x64, 0x7d},       // inc  byte [0x7d64]      ; step 3: read the old way
	{0xb8, 0x08, 0x02},             // mov  ax, 0x0208         ; 8 sectors
	{0xbb, 0x00, 0x90},             // mov  bx, 0x9000
	{0xb9, 0x11, 0x00},             // mov  cx, 0x0011         ; cylinder 0, sector 17: the first is 1
	{0xb6, 0x00},                   // mov  dh, 0              ; head 0
	{0x8a, 0x16, 0x00, 0x7d},       // mov  dl, [0x7d00]
	{0xcd, 0x13},                   // int  0x13
	{0x72, 0x16},                   // jc   bad
	{0xfe, 0x06, 0x64, 0x7d},       // inc  byte [0x7d64]      ; step 4: compare
	{0xbe, 0x00, 0x80},             // mov  si, 0x8000
	{0xbf, 0x00, 0x90},             // mov  di, 0x9000
	{0xb9, 0x00, 0x08},             // mov  cx, 8*512/2
	{0xf3, 0xa7},                   // repe cmpsw
	{0x75, 0x05},                   // jne  bad
	{0xbe, 0x90, 0x7d},             // mov  si, bootOK
	{0xeb, 0x03},                   // jmp  leave
	{0xbe, 0x40, 0x7d},             // bad: mov si, bootFailed
	{0xe8, 0x11, 0x00},             // leave: call print
	{0xba, 0xf4, 0x00},             // mov  dx, 0xf4           ; isa-debug-exit
	{0xee},                         // out  dx, al
	{0xf4},                         // halt: hlt
	{0xeb, 0xfd},                   // jmp  halt
	{0xbe, 0x10, 0x7d},             // packet: mov si, bootPacket
	{0x8a, 0x16, 0x00, 0x7d},       // mov  dl, [0x7d00]
	{0xcd, 0x13},                   // int  0x13
	{0xc3},                         // ret
	{0xac},                         // print: lodsb
	{0x84, 0xc0},                   // test al, al
	{0x74, 0x12},                   // jz   printed
	{0x88, 0xc4},                   // mov  ah, al
	{0xba, 0xfd, 0x03},             // mov  dx, 0x3fd          ; COM1's line status
	{0xec},                         // full: in al, dx
	{0xa8, 0x20},                   // test al, 0x20
	{0x74, 0xfb},                   // jz   full
	{0xba, 0xf8, 0x03},             // mov  dx, 0x3f8          ; and its data
	{0x88, 0xe0},                   // mov  al, ah
	{0xee},                         // out  dx, al
	{0xeb, 0xe9},                   // jmp  print
	{0xc3},                         // printed: ret
}, nil)
