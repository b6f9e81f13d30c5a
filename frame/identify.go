package frame

import (
	"encoding/binary"
	"strings"
)

// IdentifyLen is the size of IDENTIFY DEVICE data in bytes: 256 words of 16
// bits, little-endian (ATA8-ACS, 7.12).
const IdentifyLen = SectorSize

// Lengths of the texts in IDENTIFY data, in bytes.
const (
	SerialLen   = 20
	FirmwareLen = 8
	ModelLen    = 40
)

// An Identify is what IDENTIFY DEVICE tells of a disk. The texts are trimmed of
// the spaces that pad them; longer ones are cut when encoded.
type Identify struct {
	Serial   string // words 10-19
	Firmware string // words 23-26
	Model    string // words 27-46
	Sectors  uint64 // words 100-103; the 28-bit size in words 60-61 is derived

	// WriteCache tells that an acknowledged write may be lost until the next
	// flush: words 82 and 85 bit 5. A write-through disk says false.
	WriteCache bool
	// Flush tells that FLUSH CACHE and FLUSH CACHE EXT are served:
	// words 83 and 86 bits 12 and 13.
	Flush bool
	// Trim tells that DATA SET MANAGEMENT is served: word 169 bit 0.
	Trim bool
	// PhysicalSectorSize in bytes, a power of two times 512: word 106.
	// Zero means 512.
	PhysicalSectorSize int
}

// Words of IDENTIFY data, and the bits in them that are used here.
const (
	wordGeneral       = 0
	wordSerial        = 10
	wordFirmware      = 23
	wordModel         = 27
	wordMaxMultiple   = 47
	wordCapabilities  = 49
	wordCapabilities2 = 50
	wordValid         = 53
	wordLBA28         = 60
	wordMajorVersion  = 80
	wordSupported1    = 82
	wordSupported2    = 83
	wordSupported3    = 84
	wordEnabled1      = 85
	wordEnabled2      = 86
	wordEnabled3      = 87
	wordLBA48         = 100
	wordSectorSize    = 106
	wordTrimBlocks    = 105
	wordTrim          = 169
	wordIntegrity     = 255

	bitWriteCache = 1 << 5
	bitLBA48      = 1 << 10
	bitFlush      = 1 << 12
	bitFlushExt   = 1 << 13
	// bitsValid marks words 83, 84, 86, 87 and 106 as meaningful: bit 14 set
	// and bit 15 clear.
	bitsValid     = 1 << 14
	bitsValidMask = 3 << 14
)

// Append encodes id behind b: IdentifyLen bytes.
func (id Identify) Append(b []byte) []byte {
	start := len(b)
	b = append(b, make512()...)
	d := b[start:]
	put := func(word int, v uint16) { binary.LittleEndian.PutUint16(d[2*word:], v) }

	put(wordGeneral, 0x0040) // fixed disk
	putText(d[2*wordSerial:][:SerialLen], id.Serial)
	putText(d[2*wordFirmware:][:FirmwareLen], id.Firmware)
	putText(d[2*wordModel:][:ModelLen], id.Model)
	put(wordMaxMultiple, 0x8000)  // no READ MULTIPLE
	put(wordCapabilities, 1<<9)   // LBA
	put(wordCapabilities2, 1<<14) // word is valid
	put(wordValid, 1<<1)          // words 64-70 are valid, as every ATA-2 disk says
	binary.LittleEndian.PutUint32(d[2*wordLBA28:], uint32(min(id.Sectors, MaxLBA28)))
	put(wordMajorVersion, 0x00f0) // ATA-4 to ATA-7

	supported1 := uint16(0)
	supported2 := uint16(bitsValid | bitLBA48)
	enabled2 := uint16(bitLBA48)
	if id.WriteCache {
		supported1 |= bitWriteCache
	}
	if id.Flush {
		supported2 |= bitFlush | bitFlushExt
		enabled2 |= bitFlush | bitFlushExt
	}
	put(wordSupported1, supported1)
	put(wordSupported2, supported2)
	put(wordSupported3, bitsValid)
	put(wordEnabled1, supported1)
	put(wordEnabled2, enabled2)
	put(wordEnabled3, bitsValid)
	binary.LittleEndian.PutUint64(d[2*wordLBA48:], id.Sectors&mask48)
	if shift := sectorShift(id.PhysicalSectorSize); shift > 0 {
		put(wordSectorSize, bitsValid|1<<13|uint16(shift))
	} else {
		put(wordSectorSize, bitsValid)
	}
	if id.Trim {
		put(wordTrimBlocks, 1) // 512-byte blocks of ranges in one request
		put(wordTrim, 1)
	}
	// "The data structure checksum is the two's complement of the sum of all
	// bytes in words 0-254 and the byte consisting of bits 7:0 in word 255"
	// (ATA8-ACS, 7.12.7.79).
	d[2*wordIntegrity] = 0xa5
	sum := uint8(0)
	for _, c := range d[:IdentifyLen-1] {
		sum += c
	}
	d[IdentifyLen-1] = -sum
	return b
}

var zeroSector [SectorSize]byte

func make512() []byte { return zeroSector[:] }

// sectorShift is log2 of the number of 512-byte sectors in a physical one.
func sectorShift(size int) int {
	shift := 0
	for s := size / SectorSize; s > 1 && shift < 15; s >>= 1 {
		shift++
	}
	return shift
}

// putText stores s as ATA texts are stored: padded with spaces, and the two
// bytes of each word swapped.
func putText(d []byte, s string) {
	for i := range d {
		c := byte(' ')
		if i < len(s) {
			c = s[i]
			if c < 0x20 || c > 0x7e {
				c = '?'
			}
		}
		d[i^1] = c
	}
}

func text(d []byte) string {
	b := make([]byte, len(d))
	for i := range d {
		b[i] = d[i^1]
	}
	return strings.Trim(string(b), " \x00")
}

// ParseIdentify reads IDENTIFY data. It allocates the texts: IDENTIFY is not on
// the data path. ErrArgument means that the integrity word is there and wrong.
func ParseIdentify(d []byte) (Identify, error) {
	if len(d) < IdentifyLen {
		return Identify{}, ErrShort
	}
	d = d[:IdentifyLen]
	if d[2*wordIntegrity] == 0xa5 {
		sum := uint8(0)
		for _, c := range d {
			sum += c
		}
		if sum != 0 {
			return Identify{}, ErrArgument
		}
	}
	word := func(w int) uint16 { return binary.LittleEndian.Uint16(d[2*w:]) }
	id := Identify{
		Serial:     text(d[2*wordSerial:][:SerialLen]),
		Firmware:   text(d[2*wordFirmware:][:FirmwareLen]),
		Model:      text(d[2*wordModel:][:ModelLen]),
		Sectors:    uint64(binary.LittleEndian.Uint32(d[2*wordLBA28:])),
		WriteCache: word(wordEnabled1)&bitWriteCache != 0,
		Trim:       word(wordTrim)&1 != 0,
	}
	if s := word(wordSupported2); s&bitsValidMask == bitsValid {
		id.Flush = s&(bitFlush|bitFlushExt) != 0
		if s&bitLBA48 != 0 {
			if n := binary.LittleEndian.Uint64(d[2*wordLBA48:]) & mask48; n != 0 {
				id.Sectors = n
			}
		}
	}
	if w := word(wordSectorSize); w&bitsValidMask == bitsValid && w&(1<<13) != 0 {
		id.PhysicalSectorSize = SectorSize << (w & 15)
	}
	return id, nil
}
