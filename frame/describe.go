package frame

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mdlayher/aoe"
)

// Describe is what the frame b says, in one line for people who look at a trace:
//
//	02:00:00:00:00:02 > ff:ff:ff:ff:ff:ff e*.* tag 0x80000000 config Read, length 60
//	02:00:00:00:00:01 > 02:00:00:00:00:02 e1.1 tag 0x80000000 reply config Read: buffers 16, firmware 0x4019, sectors 2, "", length 60
//	02:00:00:00:00:02 > 02:00:00:00:00:01 e1.1 tag 0x00000007 READ SECTORS EXT lba 8 count 2, length 60
//	02:00:00:00:00:01 > 02:00:00:00:00:02 e1.1 tag 0x00000007 reply ATA status 0x40 DRDY, count 0, length 548
//
// The length is the frame's, with the padding that arrived. Frames that cannot be
// parsed say so and why. Sub-commands and errors have the names of package aoe.
func Describe(b []byte) string { return string(AppendDescription(nil, b)) }

// AppendDescription appends what Describe returns to dst, for traces that reuse
// their buffer. It is not for the data path: formatting allocates.
func AppendDescription(dst, b []byte) []byte {
	h, arg, err := Parse(b)
	if err != nil {
		dst = append(dst, err.Error()...)
	} else {
		dst = h.describe(dst)
		dst = describeArg(dst, h, arg)
	}
	dst = append(dst, ", length "...)
	return strconv.AppendInt(dst, int64(len(b)), 10)
}

// maxListed is how many entries of a list are shown.
const maxListed = 4

func (h Header) describe(dst []byte) []byte {
	dst = h.Src.appendText(dst)
	dst = append(dst, " > "...)
	dst = h.Dst.appendText(dst)
	dst = append(dst, ' ')
	dst = h.Addr.appendText(dst)
	dst = fmt.Appendf(dst, " tag %#08x ", h.Tag)
	if h.Version != Version {
		dst = fmt.Appendf(dst, "version %d ", h.Version)
	}
	if h.IsResponse() {
		dst = append(dst, "reply "...)
	}
	return dst
}

func describeArg(dst []byte, h Header, arg []byte) []byte {
	var err error
	switch h.Command {
	case aoe.CommandIssueATACommand:
		dst, err = describeATA(dst, h, arg)
	case aoe.CommandQueryConfigInformation:
		dst, err = describeConfig(dst, h, arg)
	case aoe.CommandMACMaskList:
		dst, err = describeMask(dst, h, arg)
	case aoe.CommandReserveRelease:
		dst, err = describeReserve(dst, arg)
	default:
		dst = fmt.Appendf(dst, "command %#02x", uint8(h.Command))
	}
	if err != nil {
		dst = append(dst, " ("...)
		dst = append(dst, err.Error()...)
		dst = append(dst, ')')
	}
	if h.IsError() {
		dst = fmt.Appendf(dst, ", error %d ", uint8(h.Error))
		dst = append(dst, strings.TrimPrefix(h.Error.String(), "Error")...)
	}
	return dst
}

func describeATA(dst []byte, h Header, arg []byte) ([]byte, error) {
	a, rest, err := ParseATA(arg)
	if err != nil {
		return append(dst, "ATA"...), err
	}
	if h.IsError() {
		return append(dst, "ATA"...), nil // the registers may still be the request's
	}
	if h.IsResponse() {
		dst = fmt.Appendf(dst, "ATA status %#02x", a.Status())
		for _, bit := range statusBits {
			if a.Status()&bit.mask != 0 {
				dst = append(dst, bit.name...)
			}
		}
		if a.Status()&StatusErr != 0 {
			dst = fmt.Appendf(dst, ", error register %#02x", a.Feature)
		}
		return fmt.Appendf(dst, ", count %d", a.Count), nil
	}
	dst = append(dst, a.Op.String()...)
	dst = fmt.Appendf(dst, " lba %d count %d", a.Address(), a.Count)
	if a.Feature != 0 {
		dst = fmt.Appendf(dst, " feature %#02x", a.Feature)
	}
	if a.AFlags&AFlagWrite != 0 {
		_, err = Data(rest, int(a.Count))
	}
	return dst, err
}

// statusBits are the names of the bits of the status register.
var statusBits = [...]struct {
	mask uint8
	name string
}{
	{StatusBSY, " BSY"},
	{StatusDRDY, " DRDY"},
	{StatusDF, " DF"},
	{StatusDRQ, " DRQ"},
	{StatusErr, " ERR"},
}

func describeConfig(dst []byte, h Header, arg []byte) ([]byte, error) {
	c, err := ParseConfig(arg)
	dst = append(dst, "config"...)
	if err != nil {
		return dst, err
	}
	dst = append(dst, ' ')
	dst = append(dst, strings.TrimPrefix(c.Sub.String(), "ConfigCommand")...)
	if h.IsResponse() {
		dst = fmt.Appendf(dst, ": buffers %d, firmware %#04x, sectors %d,", c.BufferCount, c.Firmware, c.SectorCount)
	} else if c.Sub == aoe.ConfigCommandRead {
		return dst, nil // a string means nothing, but aoeping sends one
	}
	dst = append(dst, ' ')
	return strconv.AppendQuote(dst, string(c.String)), nil
}

func describeMask(dst []byte, h Header, arg []byte) ([]byte, error) {
	parse := ParseMask
	if h.IsResponse() {
		parse = ParseMaskReply
	}
	m, err := parse(arg)
	dst = append(dst, "mask"...)
	if err != nil {
		return dst, err
	}
	dst = append(dst, ' ')
	dst = append(dst, strings.TrimPrefix(m.Sub.String(), "MACMaskCommand")...)
	if h.IsResponse() && m.Error != 0 {
		dst = append(dst, ": "...)
		dst = append(dst, strings.TrimPrefix(m.Error.String(), "MACMaskError")...)
		return fmt.Appendf(dst, " at %d", m.Count), nil
	}
	for i := range m.Len() {
		if i == maxListed {
			return fmt.Appendf(dst, " and %d more", m.Len()-i), nil
		}
		d := m.At(i)
		dst = append(dst, ' ')
		dst = append(dst, strings.TrimPrefix(d.Directive.String(), "DirectiveCommand")...)
		dst = append(dst, ' ')
		dst = d.MAC.appendText(dst)
	}
	return dst, nil
}

func describeReserve(dst []byte, arg []byte) ([]byte, error) {
	r, err := ParseReserve(arg)
	dst = append(dst, "reserve"...)
	if err != nil {
		return dst, err
	}
	dst = append(dst, ' ')
	dst = append(dst, strings.TrimPrefix(r.Sub.String(), "ReserveReleaseCommand")...)
	for i := range r.Len() {
		if i == maxListed {
			return fmt.Appendf(dst, " and %d more", r.Len()-i), nil
		}
		dst = append(dst, ' ')
		dst = r.At(i).appendText(dst)
	}
	return dst, nil
}
