package frame

import (
	"encoding/binary"
	"errors"

	"github.com/mdlayher/aoe"
	"github.com/mdlayher/ethernet"
)

// EtherType is the one registered for AoE: 0x88A2.
const EtherType ethernet.EtherType = aoe.EtherType

// Lengths and offsets in bytes, counted from the first byte of the Ethernet
// header (AoEr11, section 2).
const (
	EthernetLen = 14 // two MACs and the EtherType
	HeaderLen   = 24 // Ethernet header and AoE common header
	TagOffset   = 20 // of the four bytes of the tag
	MinLen      = 60 // shortest frame on Ethernet, without the FCS
	SectorSize  = 512
)

// Version is the one version of AoE there is.
const Version = aoe.Version

// Flags of the common header.
const (
	FlagResponse = 0x08 // R: a response, answers a request
	FlagError    = 0x04 // E: the response's error field is valid
)

// Reasons to refuse a frame. They are values, not built when needed, so that
// refusing costs nothing.
var (
	ErrShort     = errors.New("frame: shorter than its fields")
	ErrEtherType = errors.New("frame: not AoE")
	ErrArgument  = errors.New("frame: field out of range")
)

// A Header is the Ethernet header and the common header of AoE
// (AoEr11, section 2).
type Header struct {
	Dst, Src MAC
	Version  uint8 // upper four bits of byte 14
	Flags    uint8 // lower four bits of byte 14
	Error    aoe.Error
	Addr     Addr
	Command  aoe.Command
	Tag      uint32 // chosen by the initiator, echoed by the target
}

// IsResponse reports whether the R flag is set.
func (h Header) IsResponse() bool { return h.Flags&FlagResponse != 0 }

// IsError reports whether the E flag is set.
func (h Header) IsError() bool { return h.Flags&FlagError != 0 }

// Parse reads the header of the frame b and returns the bytes behind it, which
// hold the argument and may be followed by padding. Any version is parsed: a
// target has to answer a foreign one with an error.
func Parse(b []byte) (Header, []byte, error) {
	if len(b) < EthernetLen {
		return Header{}, nil, ErrShort
	}
	if binary.BigEndian.Uint16(b[12:]) != uint16(EtherType) {
		return Header{}, nil, ErrEtherType
	}
	if len(b) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	return Header{
		Dst:     MAC(b[0:6]),
		Src:     MAC(b[6:12]),
		Version: b[14] >> 4,
		Flags:   b[14] & 0x0f,
		Error:   aoe.Error(b[15]),
		Addr:    Addr{binary.BigEndian.Uint16(b[16:]), b[18]},
		Command: aoe.Command(b[19]),
		Tag:     binary.BigEndian.Uint32(b[TagOffset:]),
	}, b[HeaderLen:], nil
}

// Append encodes h behind b. A zero Version is encoded as [Version].
func (h Header) Append(b []byte) []byte {
	v := h.Version
	if v == 0 {
		v = Version
	}
	b = append(b, h.Dst[:]...)
	b = append(b, h.Src[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(EtherType))
	b = append(b, v<<4|h.Flags&0x0f, byte(h.Error))
	b = binary.BigEndian.AppendUint16(b, h.Addr.Shelf)
	b = append(b, h.Addr.Slot, byte(h.Command))
	return binary.BigEndian.AppendUint32(b, h.Tag)
}

// Reply turns the header of the request b into a response's, in place: the MACs
// are swapped, src is the sender, R is set and E cleared, and own takes the
// place of the address, which may have been a wildcard: "e1.1 answers" tells
// an initiator who it found. Command and tag stay (AoEr11, section 2).
// b must hold a whole header.
//
// The argument stays too. [PutResult] makes an ATA request's a response's; the
// others are replaced by encoding the answer on b[:HeaderLen].
func Reply(b []byte, src MAC, own Addr) {
	_ = b[HeaderLen-1]
	copy(b[0:6], b[6:12])
	copy(b[6:12], src[:])
	b[14] = Version<<4 | FlagResponse
	b[15] = 0
	binary.BigEndian.PutUint16(b[16:], own.Shelf)
	b[18] = own.Slot
}

// ReplyError is Reply for a request that is refused: E is set and code given
// (AoEr11, section 2.4). The argument is left alone.
func ReplyError(b []byte, src MAC, own Addr, code aoe.Error) {
	Reply(b, src, own)
	b[14] |= FlagError
	b[15] = byte(code)
}

// PutTag overwrites the tag of the encoded frame b.
func PutTag(b []byte, tag uint32) { binary.BigEndian.PutUint32(b[TagOffset:], tag) }

// PutEthernet overwrites both MACs of the encoded frame b.
func PutEthernet(b []byte, dst, src MAC) {
	copy(b[0:6], dst[:])
	copy(b[6:12], src[:])
}

// Pad appends zeros until b has Ethernet's minimum length. The bytes between
// length and capacity, which may be stale, are never sent. It allocates only if
// the capacity is below MinLen.
func Pad(b []byte) []byte {
	if len(b) >= MinLen {
		return b
	}
	return append(b, make([]byte, MinLen-len(b))...)
}

// SectorsPerFrame is how many sectors of data an ATA frame can carry on a link
// with the given MTU in bytes, at most 255: the count is one byte. The MTU does
// not include the Ethernet header; 1500 gives 2 sectors and 9000 gives 17.
func SectorsPerFrame(mtu int) int {
	return min(max((mtu-(ATADataOffset-EthernetLen))/SectorSize, 0), 255)
}
