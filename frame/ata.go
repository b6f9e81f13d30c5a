package frame

import (
	"encoding/binary"
	"fmt"
)

// ATADataOffset is where the data of an ATA frame starts: behind the Ethernet
// header, the common header and 12 bytes of ATA argument (AoEr11, section 3.1).
const ATADataOffset = HeaderLen + ataLen

const ataLen = 12

// ataLBA is where the LBA registers begin in it.
const ataLBA = 4

// AFlags of an ATA argument; the other bits are reserved.
const (
	AFlagExtended = 0x40 // E: LBA48 command. Informative: the opcode decides
	AFlagDevice   = 0x10 // D: device/head register, evaluated only with E
	AFlagAsync    = 0x02 // A: asynchronous write
	AFlagWrite    = 0x01 // W: data goes to the device

	aflags = AFlagExtended | AFlagDevice | AFlagAsync | AFlagWrite
)

// An Opcode is an ATA command, the content of the command register.
type Opcode uint8

// The ATA commands that AoE disks serve (ATA8-ACS; TRIM is ACS-2). EXT marks
// the 48-bit forms.
const (
	OpTrim        Opcode = 0x06 // DATA SET MANAGEMENT
	OpRead        Opcode = 0x20 // READ SECTORS
	OpReadExt     Opcode = 0x24
	OpWrite       Opcode = 0x30 // WRITE SECTORS
	OpWriteExt    Opcode = 0x34
	OpSMART       Opcode = 0xb0
	OpCheckPower  Opcode = 0xe5
	OpFlush       Opcode = 0xe7
	OpFlushExt    Opcode = 0xea
	OpIdentify    Opcode = 0xec
	OpSetFeatures Opcode = 0xef
)

// String is the name of op in the ATA standards, or its number.
func (op Opcode) String() string {
	switch op {
	case OpTrim:
		return "DATA SET MANAGEMENT"
	case OpRead:
		return "READ SECTORS"
	case OpReadExt:
		return "READ SECTORS EXT"
	case OpWrite:
		return "WRITE SECTORS"
	case OpWriteExt:
		return "WRITE SECTORS EXT"
	case OpSMART:
		return "SMART"
	case OpCheckPower:
		return "CHECK POWER MODE"
	case OpFlush:
		return "FLUSH CACHE"
	case OpFlushExt:
		return "FLUSH CACHE EXT"
	case OpIdentify:
		return "IDENTIFY DEVICE"
	case OpSetFeatures:
		return "SET FEATURES"
	}
	return fmt.Sprintf("ATA command %#02x", uint8(op))
}

// IsExt reports whether op takes a 48-bit address. The opcode decides this and
// not the E flag, which initiators set inconsistently.
func (op Opcode) IsExt() bool {
	return op == OpReadExt || op == OpWriteExt || op == OpFlushExt || op == OpTrim
}

// IsRead reports whether op reads sectors.
func (op Opcode) IsRead() bool { return op == OpRead || op == OpReadExt }

// IsWrite reports whether op writes sectors.
func (op Opcode) IsWrite() bool { return op == OpWrite || op == OpWriteExt }

// IsFlush reports whether op is one of the two cache flushes.
func (op Opcode) IsFlush() bool { return op == OpFlush || op == OpFlushExt }

// FeatureTrim in the feature register makes DATA SET MANAGEMENT a TRIM.
const FeatureTrim = 0x01

// Bits of the status register in a reply.
const (
	StatusErr   = 0x01 // ERR: the error register is valid
	StatusDRQ   = 0x08 // DRQ: never set in an AoE reply
	StatusDF    = 0x20 // DF: device fault
	StatusDRDY  = 0x40 // DRDY: device ready
	StatusBSY   = 0x80 // BSY: never set in an AoE reply
	StatusFault = 0xa9 // what initiators test: BSY, DF, DRQ or ERR
)

// Bits of the error register in a reply.
const (
	ErrorABRT = 0x04 // command aborted
	ErrorIDNF = 0x10 // ID not found: address beyond the end of the disk
	ErrorUNC  = 0x40 // uncorrectable: data that cannot be read
)

const (
	mask28 = 1<<28 - 1
	mask48 = 1<<48 - 1
)

// MaxLBA28 is the largest number of sectors that IDENTIFY words 60 and 61 give.
const MaxLBA28 = mask28

// MaxSectors is the largest disk a 48-bit address reaches, in sectors.
const MaxSectors = mask48

// An ATA is the argument of command 0: the registers of an ATA device
// (AoEr11, section 3.1). Several fields mean one thing in a request and another
// in a response.
type ATA struct {
	AFlags  uint8
	Feature uint8  // request: feature register. Response: error register
	Count   uint8  // request: sectors. Response: sectors not transferred; do not trust it (H12)
	Op      Opcode // request: command register. Response: status register, see Status
	LBA     uint64 // 48 bits as sent; Address cuts it to what the opcode takes
}

// NewATA is the argument of a request for op on count sectors from lba, with the
// flags that go with op: E for a 48-bit command and W when data goes to the disk.
// An lba beyond what op can address panics: cut to its low bits it would name
// another sector.
func NewATA(op Opcode, lba uint64, count uint8) ATA {
	a := ATA{Op: op, LBA: lba, Count: count}
	if a.Address() != lba {
		panic("frame: LBA beyond what the opcode can address")
	}
	if op.IsExt() {
		a.AFlags |= AFlagExtended
	}
	if op.IsWrite() || op == OpTrim {
		a.AFlags |= AFlagWrite
	}
	return a
}

// Status is the status register of a response.
func (a ATA) Status() uint8 { return uint8(a.Op) }

// Address is the first sector of a request: the low 28 bits of the LBA field
// for a 28-bit opcode, all 48 for an extended one.
func (a ATA) Address() uint64 {
	if a.Op.IsExt() {
		return a.LBA & mask48
	}
	return a.LBA & mask28
}

// ParseATA reads an ATA argument and returns the bytes behind it: the data,
// perhaps followed by padding. How many of them are data depends on Count and
// Op; see Data.
func ParseATA(arg []byte) (ATA, []byte, error) {
	if len(arg) < ataLen {
		return ATA{}, nil, ErrShort
	}
	lba := uint64(binary.LittleEndian.Uint32(arg[4:])) | uint64(binary.LittleEndian.Uint16(arg[8:]))<<32
	return ATA{
		AFlags:  arg[0],
		Feature: arg[1],
		Count:   arg[2],
		Op:      Opcode(arg[3]),
		LBA:     lba,
	}, arg[ataLen:], nil
}

// Data cuts the n sectors of data out of what ParseATA returned behind the
// argument, or refuses a frame that promises more than it holds (H9).
func Data(rest []byte, n int) ([]byte, error) {
	n *= SectorSize
	if len(rest) < n {
		return nil, ErrShort
	}
	return rest[:n:n], nil
}

// Append encodes a behind b, which must end with a header. An LBA of more than
// 48 bits panics, see NewATA.
func (a ATA) Append(b []byte) []byte {
	if a.LBA > mask48 {
		panic("frame: LBA of more than 48 bits")
	}
	b = append(b, a.AFlags, a.Feature, a.Count, byte(a.Op))
	b = binary.LittleEndian.AppendUint32(b, uint32(a.LBA))
	b = binary.LittleEndian.AppendUint16(b, uint16(a.LBA>>32))
	return append(b, 0, 0)
}

// PutResult turns the registers of the encoded ATA request b into a response's:
// status, error register and sectors not transferred. AFlags and LBA stay.
//
// "Reserved fields must be set to zero in all messages sent" (AoEr11, section 1):
// what the initiator put there is not sent back.
func PutResult(b []byte, status, errorRegister, remaining uint8) {
	arg := b[HeaderLen:ATADataOffset]
	arg[0] &= aflags
	arg[1] = errorRegister
	arg[2] = remaining
	arg[3] = status
	arg[10], arg[11] = 0, 0
}

// A TrimRange is one entry of the data of a DATA SET MANAGEMENT request:
// little-endian, 48 bits of LBA and 16 bits of length (ACS-2).
// A length of zero is an empty entry.
type TrimRange struct {
	LBA     uint64
	Sectors uint16
}

// TrimRangeLen is the size of an encoded TrimRange in bytes.
const TrimRangeLen = 8

// ParseTrimRange reads the i-th entry of data.
func ParseTrimRange(data []byte, i int) TrimRange {
	v := binary.LittleEndian.Uint64(data[i*TrimRangeLen:])
	return TrimRange{LBA: v & mask48, Sectors: uint16(v >> 48)}
}

// Append encodes r behind b. An LBA of more than 48 bits panics, see NewATA.
func (r TrimRange) Append(b []byte) []byte {
	if r.LBA > mask48 {
		panic("frame: LBA of more than 48 bits")
	}
	return binary.LittleEndian.AppendUint64(b, r.LBA|uint64(r.Sectors)<<48)
}
