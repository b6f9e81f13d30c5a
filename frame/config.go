package frame

import (
	"encoding/binary"

	"github.com/mdlayher/aoe"
)

// ConfigStringOffset is where the config string of a command 1 frame starts.
const ConfigStringOffset = HeaderLen + configLen

// MaxConfigString is the longest config string in bytes (AoEr11, section 3.2).
const MaxConfigString = 1024

const configLen = 8

// A Config is the argument of command 1, query config information
// (AoEr11, section 3.2). In a request only Sub and String are of interest.
type Config struct {
	BufferCount uint16 // messages the target can hold at once, for all initiators together
	Firmware    uint16
	SectorCount uint8 // most sectors in a frame; 0 means 2, see MaxSectorsPerFrame
	Version     uint8 // of AoE, upper four bits of byte 29
	Sub         aoe.ConfigCommand
	String      []byte // aliases the parsed frame
}

// MaxSectorsPerFrame is SectorCount with the meaning of zero applied: targets
// older than the field serve two sectors, what fits an Ethernet of 1500 bytes.
func (c Config) MaxSectorsPerFrame() int {
	if c.SectorCount == 0 {
		return 2
	}
	return int(c.SectorCount)
}

// ParseConfig reads a config argument. A string longer than MaxConfigString is
// refused with ErrArgument, one longer than the frame with ErrShort.
func ParseConfig(arg []byte) (Config, error) {
	if len(arg) < configLen {
		return Config{}, ErrShort
	}
	n := int(binary.BigEndian.Uint16(arg[6:]))
	if n > MaxConfigString {
		return Config{}, ErrArgument
	}
	if len(arg) < configLen+n {
		return Config{}, ErrShort
	}
	return Config{
		BufferCount: binary.BigEndian.Uint16(arg[0:]),
		Firmware:    binary.BigEndian.Uint16(arg[2:]),
		SectorCount: arg[4],
		Version:     arg[5] >> 4,
		Sub:         aoe.ConfigCommand(arg[5] & 0x0f),
		String:      arg[configLen : configLen+n : configLen+n],
	}, nil
}

// Append encodes c behind b, which must end with a header. A zero Version is
// encoded as [Version]. A string longer than MaxConfigString panics: the caller
// accepted it somewhere it should not have.
func (c Config) Append(b []byte) []byte {
	if len(c.String) > MaxConfigString {
		panic("frame: config string longer than 1024 bytes")
	}
	v := c.Version
	if v == 0 {
		v = Version
	}
	b = binary.BigEndian.AppendUint16(b, c.BufferCount)
	b = binary.BigEndian.AppendUint16(b, c.Firmware)
	b = append(b, c.SectorCount, v<<4|byte(c.Sub)&0x0f)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.String)))
	return append(b, c.String...)
}
