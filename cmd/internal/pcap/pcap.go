// Package pcap reads the Ethernet frames of capture files, pcap and pcapng
// (draft-ietf-opsawg-pcap and -pcapng), and writes pcap files. It knows no more of
// either than that: what is behind it on the market would add two megabytes to a
// program that locks itself into memory.
//
// A [Reader] belongs to one goroutine.
package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Frame is one captured frame.
type Frame struct {
	Time time.Time
	Data []byte // valid until the next call of Next; shorter than Length if it was cut
	// Length of the frame on the wire.
	Length int
}

// Limits, so that a damaged file does not take all memory.
const (
	maxBlock      = 1 << 20
	maxInterfaces = 1 << 16
)

const linkEthernet = 1

// ErrFormat is wrapped by every error about what a file contains.
var ErrFormat = errors.New("pcap: not a capture file, or a damaged one")

// A Reader reads a capture file.
type Reader struct {
	r     *bufio.Reader
	order binary.ByteOrder
	buf   []byte

	// pcap
	unit time.Duration // of the fraction of a second; zero: pcapng

	// pcapng
	interfaces []ngInterface

	// Skipped counts frames of interfaces that are not Ethernet.
	Skipped int
}

// NewReader reads the beginning of the file.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: bufio.NewReader(r)}
	magic, err := c.r.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes long", ErrFormat, len(magic))
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch c.order = order; order.Uint32(magic) {
		case 0xa1b2c3d4:
			c.unit = time.Microsecond
			return c, c.header()
		case 0xa1b23c4d:
			c.unit = time.Nanosecond
			return c, c.header()
		case blockSection: // the same in both orders
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: it begins with % x", ErrFormat, magic)
}

// header reads the header of a pcap file.
func (c *Reader) header() error {
	h, err := c.read(24)
	if err != nil {
		return err
	}
	// The upper bits tell of a frame check sequence.
	if link := c.order.Uint32(h[20:]) & 0x0fffffff; link != linkEthernet {
		return fmt.Errorf("%w: link type %d: want Ethernet; capture on one interface, not on \"any\"", ErrFormat, link)
	}
	return nil
}

// read reads n bytes into the buffer.
func (c *Reader) read(n int) ([]byte, error) {
	if n > cap(c.buf) {
		c.buf = make([]byte, n)
	}
	c.buf = c.buf[:n]
	_, err := io.ReadFull(c.r, c.buf)
	return c.buf, err
}

// Next is the next frame; io.EOF ends the file. A file that is cut in the middle
// of a frame, as one is that is still being written, ends there.
func (c *Reader) Next() (Frame, error) {
	if c.unit == 0 {
		return c.nextNg()
	}
	h, err := c.read(16)
	if err != nil {
		return Frame{}, endOf(err)
	}
	sec, fraction := c.order.Uint32(h), c.order.Uint32(h[4:])
	n, length := c.order.Uint32(h[8:]), c.order.Uint32(h[12:])
	if n > maxBlock || length > maxBlock {
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrFormat, max(n, length))
	}
	data, err := c.read(int(n))
	if err != nil {
		return Frame{}, endOf(err)
	}
	return Frame{Time: time.Unix(int64(sec), int64(fraction)*int64(c.unit)), Data: data, Length: int(length)}, nil
}

// endOf makes a file that is cut one that ends.
func endOf(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// A Writer writes a pcap file with nanoseconds.
type Writer struct{ w io.Writer }

// NewWriter writes the header of a file of Ethernet frames.
func NewWriter(w io.Writer) (*Writer, error) {
	h := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	h = binary.LittleEndian.AppendUint16(h, 2) // version 2.4
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...)
	h = binary.LittleEndian.AppendUint32(h, maxBlock)
	h = binary.LittleEndian.AppendUint32(h, linkEthernet)
	_, err := w.Write(h)
	return &Writer{w}, err
}

// Write writes one frame.
func (w *Writer) Write(f Frame) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(f.Time.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Time.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(max(f.Length, len(f.Data))))
	_, err := w.w.Write(append(b, f.Data...))
	return err
}
