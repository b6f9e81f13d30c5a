package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
)

// IdentifyLen is the size of IDENTIFY DEVICE data in bytes: 256 words of 16
// bits, little-endian (ATA8-ACS).
const IdentifyLen = SectorSize

// Lengths of the texts in IDENTIFY data, in bytes.
const (
	SerialLen   = 20
	FirmwareLen = 8
	ModelLen    = 40
)

// An Identify is what IDENTIFY DEVICE tells of a disk. Its texts are printable
// ASCII without the spaces that pad them: what is longer is cut, and what is
// not printable becomes a question mark, when encoded and when parsed.
type Identify struct {
	Serial   string // words 10-19
	Firmware string // words 23-26
	Model    string // words 27-46
	Sectors  uint64 // words 100-103, and words 60-61 as far as they reach

	// LBA28 tells that the disk takes only the 28-bit commands: bit 10 of
	// words 83 and 86 is clear. A disk made in this century says false.
	LBA28 bool
	// WriteCache tells that an acknowledged write may be lost until the next
	// flush: words 82 and 85 bit 5. A write-through disk says false.
	WriteCache bool
	// Flush tells that FLUSH CACHE is served, FlushExt that FLUSH CACHE EXT is:
	// words 83 and 86 bits 12 and 13. vblade knows only the first.
	Flush, FlushExt bool
	// Trim tells that DATA SET MANAGEMENT is served: word 169 bit 0.
	Trim bool
	// TrimZeroes tells that trimmed sectors are read as zeros, always: word 69
	// bits 14 (deterministic read after trim) and 5 (which returns zeros).
	// Only with Trim.
	TrimZeroes bool
	// PhysicalSectorSize in bytes, a power of two times 512: word 106. Encoded,
	// zero means 512, and what is no such power is rounded down to one. Parsed,
	// it is never zero.
	PhysicalSectorSize int
	// Instance tells one running target from another, words 129-136; zero if
	// the target does not tell.
	Instance Instance
	// Verifier is what the disk puts into its answers, words 137-139; zero if
	// it does not. Encoded with an Instance only.
	Verifier Verifier
}

// An Instance is a random number that a target takes when it starts, and shows on
// all of its ports and disks. Ports that show the same one belong to one target,
// which knows the order of what they receive; of others nobody does (H1). Zero
// is no instance.
type Instance uint64

// String is i in hexadecimal.
func (i Instance) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// MarshalText implements encoding.TextMarshaler: in JSON, a number of 64 bits
// would lose some.
func (i Instance) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Instance) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("frame: %q is not the instance of a target: want 16 hexadecimal digits", b)
	}
	*i = Instance(n)
	return nil
}

// Words of IDENTIFY data, and the bits in them that are used here.
const (
	wordGeneral       = 0
	wordSpecific      = 2
	wordSerial        = 10
	wordFirmware      = 23
	wordModel         = 27
	wordMaxMultiple   = 47
	wordTrusted       = 48
	wordCapabilities  = 49
	wordCapabilities2 = 50
	wordLBA28         = 60
	wordAdditional    = 69
	wordMajorVersion  = 80
	wordSupported1    = 82
	wordSupported2    = 83
	wordSupported3    = 84
	wordEnabled1      = 85
	wordEnabled2      = 86
	wordEnabled3      = 87
	wordLBA48         = 100
	wordTrimBlocks    = 105
	wordSectorSize    = 106
	wordMark          = 129 // 129-159 are vendor specific: 129-132 hold instanceMark,
	wordInstance      = 133 // 133-136 the instance, the least significant word first,
	wordVerifier      = 137 // and 137-139 the verifier, likewise
	wordTrim          = 169
	wordIntegrity     = 255

	bitsTrimZeroes = 1<<14 | 1<<5
	bitWriteCache  = 1 << 5
	bitLBA48       = 1 << 10
	bitFlush       = 1 << 12
	bitFlushExt    = 1 << 13
	// bitsValid marks words 48, 50, 83, 84, 87 and 106 as meaningful: bit 14 set
	// and bit 15 clear.
	bitsValid     = 1 << 14
	bitsValidMask = 3 << 14
	// bitPhysical in word 106: a physical sector holds several logical ones.
	bitPhysical = 1 << 13
	// signature in the low byte of word 255: the high byte is a checksum.
	signature = 0xa5
)

// instanceMark tells that an instance follows, and not what another vendor puts
// there. In words 129 to 132, the first character in a low byte.
const instanceMark = "AoEinst1"

// Append encodes id behind b: IdentifyLen bytes. Words that are not mentioned
// here are zero, which means "not supported" or "not reported" in all of them.
func (id Identify) Append(b []byte) []byte {
	b = append(b, make([]byte, IdentifyLen)...)
	d := b[len(b)-IdentifyLen:]

	put(d, wordGeneral, 1<<6)        // fixed disk: not removable, not ATAPI
	put(d, wordSpecific, 0xc837)     // nothing to spin up, these data are complete
	put(d, wordMaxMultiple, 0x80<<8) // no READ MULTIPLE
	put(d, wordTrusted, bitsValid)
	put(d, wordCapabilities, 1<<9) // LBA; no DMA: there is no bus
	put(d, wordCapabilities2, bitsValid)
	// ATA/ATAPI-4 to ACS-2: whose words may be read here, TRIM's among them.
	put(d, wordMajorVersion, 0x03f0)

	putText(d[2*wordSerial:][:SerialLen], id.Serial)
	putText(d[2*wordFirmware:][:FirmwareLen], id.Firmware)
	putText(d[2*wordModel:][:ModelLen], id.Model)
	id.putSize(d)
	id.putFeatures(d)
	if id.Instance != 0 {
		copy(d[2*wordMark:], instanceMark)
		binary.LittleEndian.PutUint64(d[2*wordInstance:], uint64(id.Instance))
		putVerifier(d[2*wordVerifier:], id.Verifier)
	}

	// The checksum makes the sum of all 512 bytes zero (ATA8-ACS, word 255).
	d[2*wordIntegrity] = signature
	d[2*wordIntegrity+1] = -sum(d)
	return b
}

func (id Identify) putSize(d []byte) {
	binary.LittleEndian.PutUint32(d[2*wordLBA28:], uint32(min(id.Sectors, MaxLBA28)))
	if !id.LBA28 {
		binary.LittleEndian.PutUint64(d[2*wordLBA48:], min(id.Sectors, MaxSectors))
	}
	physical := uint16(0)
	if shift := bits.Len(uint(max(id.PhysicalSectorSize, 0) / SectorSize)); shift > 1 {
		physical = bitPhysical | uint16(min(shift-1, 15))
	}
	put(d, wordSectorSize, bitsValid|physical)
}

func (id Identify) putFeatures(d []byte) {
	var set1, set2 uint16
	if id.WriteCache {
		set1 |= bitWriteCache
	}
	if !id.LBA28 {
		set2 |= bitLBA48
	}
	if id.Flush {
		set2 |= bitFlush
	}
	if id.FlushExt {
		set2 |= bitFlushExt
	}
	put(d, wordSupported1, set1)
	put(d, wordSupported2, bitsValid|set2)
	put(d, wordSupported3, bitsValid)
	put(d, wordEnabled1, set1)
	put(d, wordEnabled2, set2) // bits 14 and 15 are not a validity mark here
	put(d, wordEnabled3, bitsValid)
	if id.Trim {
		put(d, wordTrimBlocks, 1) // 512-byte blocks of ranges in one request
		put(d, wordTrim, 1)
		if id.TrimZeroes {
			put(d, wordAdditional, bitsTrimZeroes)
		}
	}
}

// ParseIdentify reads IDENTIFY data. It allocates the texts, and nothing else:
// IDENTIFY is not on the data path. ErrArgument means that the checksum is there
// and wrong.
func ParseIdentify(d []byte) (Identify, error) {
	if len(d) < IdentifyLen {
		return Identify{}, ErrShort
	}
	d = d[:IdentifyLen]
	if d[2*wordIntegrity] == signature && sum(d) != 0 {
		return Identify{}, ErrArgument
	}
	id := Identify{
		Serial:             text(d[2*wordSerial:][:SerialLen]),
		Firmware:           text(d[2*wordFirmware:][:FirmwareLen]),
		Model:              text(d[2*wordModel:][:ModelLen]),
		Sectors:            uint64(binary.LittleEndian.Uint32(d[2*wordLBA28:])) & mask28,
		LBA28:              true,
		WriteCache:         word(d, wordEnabled1)&bitWriteCache != 0,
		Trim:               word(d, wordTrim)&1 != 0,
		PhysicalSectorSize: SectorSize,
		Instance:           ReadInstance(d),
		Verifier:           ReadVerifier(d),
	}
	id.TrimZeroes = id.Trim && word(d, wordAdditional)&bitsTrimZeroes == bitsTrimZeroes
	if set2 := word(d, wordSupported2); set2&bitsValidMask == bitsValid {
		id.LBA28 = set2&bitLBA48 == 0
		id.Flush = set2&bitFlush != 0
		id.FlushExt = set2&bitFlushExt != 0
	}
	if n := binary.LittleEndian.Uint64(d[2*wordLBA48:]) & mask48; !id.LBA28 && n != 0 {
		id.Sectors = n
	}
	if w := word(d, wordSectorSize); w&bitsValidMask == bitsValid && w&bitPhysical != 0 {
		id.PhysicalSectorSize = SectorSize << (w & 15)
	}
	return id, nil
}

// ReadInstance reads the instance out of IDENTIFY data, IdentifyLen bytes; zero if
// there is none.
func ReadInstance(d []byte) Instance {
	if string(d[2*wordMark:][:len(instanceMark)]) != instanceMark {
		return 0
	}
	return Instance(binary.LittleEndian.Uint64(d[2*wordInstance:]))
}

// ReadVerifier reads the verifier out of IDENTIFY data, IdentifyLen bytes; zero if
// there is none.
func ReadVerifier(d []byte) Verifier {
	if ReadInstance(d) == 0 {
		return 0
	}
	return verifier(binary.LittleEndian.Uint64(d[2*wordVerifier:]) & mask48)
}

func put(d []byte, w int, v uint16) { binary.LittleEndian.PutUint16(d[2*w:], v) }

func word(d []byte, w int) uint16 { return binary.LittleEndian.Uint16(d[2*w:]) }

func sum(d []byte) uint8 {
	s := uint8(0)
	for _, c := range d {
		s += c
	}
	return s
}

// putText stores s as ATA texts are stored: padded with spaces, and the two
// bytes of each word swapped.
func putText(d []byte, s string) {
	for i := range d {
		d[i^1] = ' '
		if i < len(s) {
			d[i^1] = printable(s[i])
		}
	}
}

// text is the inverse of putText. Some disks pad with zeros, and some on the left.
func text(d []byte) string {
	var b [ModelLen]byte
	for i := range d {
		b[i] = d[i^1]
	}
	t := bytes.Trim(b[:len(d)], " \x00")
	for i, c := range t {
		t[i] = printable(c)
	}
	return string(t)
}

// printable keeps a disk's name from steering the terminal that it is shown on.
func printable(c byte) byte {
	if c < 0x20 || c > 0x7e {
		return '?'
	}
	return c
}
