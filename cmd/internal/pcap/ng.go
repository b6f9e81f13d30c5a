package pcap

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 4).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockSimple    = 3
	blockEnhanced  = 6
)

const byteOrderMagic = 0x1a2b3c4d

// Options of an interface.
const (
	optionEnd    = 0
	optionTSRes  = 9
	optionOffset = 14
)

// An ngInterface is what an Interface Description Block says.
type ngInterface struct {
	ethernet bool
	units    uint64 // of time in a second
	offset   int64  // seconds
}

// nextNg reads blocks up to one with an Ethernet frame.
func (c *Reader) nextNg() (Frame, error) {
	for {
		kind, body, err := c.block()
		if err != nil {
			return Frame{}, endOf(err)
		}
		switch kind {
		case blockInterface:
			if err := c.describe(body); err != nil {
				return Frame{}, err
			}
		case blockEnhanced:
			f, ok, err := c.enhanced(body)
			if err != nil || ok {
				return f, err
			}
			c.Skipped++
		case blockSimple: // has no time: of no use here
			c.Skipped++
		}
	}
}

// block reads one block and returns its type and body.
func (c *Reader) block() (kind uint32, body []byte, err error) {
	h, err := c.r.Peek(12)
	if err != nil {
		if len(h) > 0 {
			err = endOf(err)
		}
		return 0, nil, err
	}
	if binary.LittleEndian.Uint32(h) == blockSection {
		switch {
		case binary.LittleEndian.Uint32(h[8:]) == byteOrderMagic:
			c.order = binary.LittleEndian
		case binary.BigEndian.Uint32(h[8:]) == byteOrderMagic:
			c.order = binary.BigEndian
		default:
			return 0, nil, fmt.Errorf("%w: a section with byte order magic % x", ErrFormat, h[8:12])
		}
		c.interfaces = nil // they belong to a section
	}
	kind = c.order.Uint32(h)
	n := c.order.Uint32(h[4:])
	if n < 12 || n%4 != 0 || n > maxBlock {
		return 0, nil, fmt.Errorf("%w: a block of %d bytes", ErrFormat, n)
	}
	b, err := c.read(int(n))
	if err != nil {
		return 0, nil, err
	}
	return kind, b[8 : n-4], nil
}

// describe reads an Interface Description Block.
func (c *Reader) describe(b []byte) error {
	if len(b) < 8 || len(c.interfaces) == maxInterfaces {
		return fmt.Errorf("%w: an interface described in %d bytes", ErrFormat, len(b))
	}
	i := ngInterface{ethernet: c.order.Uint16(b) == linkEthernet, units: 1e6}
	for b = b[8:]; len(b) >= 4; {
		code, n := c.order.Uint16(b), int(c.order.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if code == optionEnd || len(b) < 4+padded {
			break
		}
		switch value := b[4 : 4+n]; {
		case code == optionTSRes && n == 1:
			// "If the Most Significant Bit is equal to zero, the remaining bits indicate
			// ... a negative power of 10 ... If ... one, ... a negative power of 2."
			e := value[0] & 0x7f
			if e > 63 || value[0]&0x80 == 0 && e > 19 {
				return fmt.Errorf("%w: a resolution of %#x", ErrFormat, value[0])
			}
			if i.units = 1 << e; value[0]&0x80 == 0 {
				i.units = 1
				for range e {
					i.units *= 10
				}
			}
		case code == optionOffset && n == 8:
			i.offset = int64(c.order.Uint64(value))
		}
		b = b[4+padded:]
	}
	c.interfaces = append(c.interfaces, i)
	return nil
}

// enhanced reads an Enhanced Packet Block; false: not an Ethernet frame.
func (c *Reader) enhanced(b []byte) (f Frame, ok bool, err error) {
	if len(b) < 20 {
		return f, false, fmt.Errorf("%w: a packet block of %d bytes", ErrFormat, len(b))
	}
	id, n, length := c.order.Uint32(b), c.order.Uint32(b[12:]), c.order.Uint32(b[16:])
	if uint64(id) >= uint64(len(c.interfaces)) || uint64(n) > uint64(len(b)-20) || length > maxBlock {
		return f, false, fmt.Errorf("%w: a packet of %d bytes on interface %d", ErrFormat, n, id)
	}
	i := c.interfaces[id]
	if !i.ethernet {
		return f, false, nil
	}
	stamp := uint64(c.order.Uint32(b[4:]))<<32 | uint64(c.order.Uint32(b[8:]))
	high, low := bits.Mul64(stamp%i.units, 1e9)
	nanos, _ := bits.Div64(high, low, i.units)
	return Frame{
		Time: time.Unix(int64(stamp/i.units)+i.offset, int64(nanos)), Data: b[20 : 20+n], Length: int(length),
	}, true, nil
}
