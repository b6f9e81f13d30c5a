package frame

import "github.com/mdlayher/aoe"

// MaskDirectivesOffset is where the directives of a command 2 frame start.
const MaskDirectivesOffset = HeaderLen + maskLen

const (
	maskLen = 4
	// MaskDirectiveLen is the size of an encoded directive in bytes.
	MaskDirectiveLen = 8
	// MaxMaskDirectives is the most directives a frame can count.
	MaxMaskDirectives = 255
)

// A MaskDirective is one edit of, or one entry in, a disk's MAC mask list.
type MaskDirective struct {
	Directive aoe.DirectiveCommand
	MAC       MAC
}

// A Mask is the argument of command 2, MAC mask list (AoEr11, section 3.3).
type Mask struct {
	Sub aoe.MACMaskCommand
	// Error is of interest in a reply only. With it, Count is the index of the
	// directive that failed, and no directives follow.
	Error      aoe.MACMaskError
	Count      uint8
	directives []byte
}

// ParseMask reads the mask argument of a request. One that counts more
// directives than the frame holds is refused with ErrShort (H9). Error, which
// means nothing here, cannot make directives disappear.
func ParseMask(arg []byte) (Mask, error) {
	m, rest, err := parseMask(arg)
	if err != nil {
		return Mask{}, err
	}
	n := int(m.Count) * MaskDirectiveLen
	if len(rest) < n {
		return Mask{}, ErrShort
	}
	m.directives = rest[:n:n]
	return m, nil
}

// ParseMaskReply reads the mask argument of a reply.
func ParseMaskReply(arg []byte) (Mask, error) {
	m, _, err := parseMask(arg)
	if err != nil || m.Error != 0 {
		return m, err
	}
	return ParseMask(arg)
}

func parseMask(arg []byte) (Mask, []byte, error) {
	if len(arg) < maskLen {
		return Mask{}, nil, ErrShort
	}
	return Mask{
		Sub:   aoe.MACMaskCommand(arg[1]),
		Error: aoe.MACMaskError(arg[2]),
		Count: arg[3],
	}, arg[maskLen:], nil
}

// Len is the number of directives that At can return.
func (m Mask) Len() int { return len(m.directives) / MaskDirectiveLen }

// At is the i-th directive.
func (m Mask) At(i int) MaskDirective {
	d := m.directives[i*MaskDirectiveLen:]
	return MaskDirective{aoe.DirectiveCommand(d[1]), MAC(d[2:8])}
}

// Append encodes the fixed part of m behind b, which must end with a header;
// Count directives follow with MaskDirective.Append.
func (m Mask) Append(b []byte) []byte {
	return append(b, 0, byte(m.Sub), byte(m.Error), m.Count)
}

// Append encodes d behind b.
func (d MaskDirective) Append(b []byte) []byte {
	b = append(b, 0, byte(d.Directive))
	return append(b, d.MAC[:]...)
}
