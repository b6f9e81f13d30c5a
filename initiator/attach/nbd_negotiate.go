package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// An nbdExport is the one disk that a server shows, as negotiation tells of it.
type nbdExport struct {
	name        string // also found under the empty name, the default export
	description string
	size        int64
	flags       uint16 // transmission flags
	preferred   int    // bytes
	maximum     int    // bytes of payload in one request
}

const (
	// nbdMaxOption is the longest option read into memory: an export name "of
	// no more than 4096 bytes" ("Values") and a list of information types.
	nbdMaxOption = 8 << 10
	// nbdMaxSkip is the longest option that is skipped to answer "too big".
	// Who sends more is disconnected.
	nbdMaxSkip = 1 << 20
	// nbdMaxOptions bounds how long a client may haggle.
	nbdMaxOptions = 256
)

// errNBDAborted is the outcome of a negotiation that the client ended.
var errNBDAborted = errors.New("attach: NBD client ended the negotiation")

// An nbdHaggle is a negotiation under way.
type nbdHaggle struct {
	rw         io.ReadWriter
	export     nbdExport
	noZeroes   bool // leave out the 124 reserved bytes behind EXPORT_NAME
	structured bool
	data       []byte // of the option at hand
	out        []byte
}

// negotiateNBD does the handshake and haggles until the client enters the
// transmission phase, and returns whether it wants structured replies. It
// reads not one byte of the transmission phase.
func negotiateNBD(rw io.ReadWriter, export nbdExport) (structured bool, err error) {
	h := &nbdHaggle{rw: rw, export: export}
	if err := h.greet(); err != nil {
		return false, err
	}
	for range nbdMaxOptions {
		entered, err := h.option()
		if err != nil {
			return false, err
		}
		if entered {
			return h.structured, nil
		}
	}
	return false, fmt.Errorf("attach: NBD client sent %d options without choosing an export", nbdMaxOptions)
}

// greet exchanges the handshake flags.
func (h *nbdHaggle) greet() error {
	b := binary.BigEndian.AppendUint64(nil, nbdMagic)
	b = binary.BigEndian.AppendUint64(b, nbdOptionMagic)
	b = binary.BigEndian.AppendUint16(b, nbdFixedNewstyle|nbdNoZeroes)
	if _, err := h.rw.Write(b); err != nil {
		return err
	}
	var client [4]byte
	if _, err := io.ReadFull(h.rw, client[:]); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint32(client[:])
	// "The server MUST drop the TCP connection if the client sets an unknown
	// flag" ("Client flags"). A client that does not know the fixed form of
	// newstyle could not understand an error; such clients are older than 2012.
	if flags&^(nbdFixedNewstyle|nbdNoZeroes) != 0 || flags&nbdFixedNewstyle == 0 {
		return fmt.Errorf("attach: NBD client flags %#x: not fixed newstyle", flags)
	}
	h.noZeroes = flags&nbdNoZeroes != 0
	return nil
}

// option reads and answers one option. True means that the transmission phase
// has begun.
func (h *nbdHaggle) option() (bool, error) {
	var head [nbdOptionHeader]byte
	if _, err := io.ReadFull(h.rw, head[:]); err != nil {
		return false, err
	}
	if binary.BigEndian.Uint64(head[:]) != nbdOptionMagic {
		return false, errors.New("attach: NBD option without its magic number")
	}
	option := binary.BigEndian.Uint32(head[8:])
	length := binary.BigEndian.Uint32(head[12:])
	if length > nbdMaxOption {
		return false, h.tooBig(option, length)
	}
	if cap(h.data) < int(length) {
		h.data = make([]byte, nbdMaxOption)
	}
	h.data = h.data[:length]
	if _, err := io.ReadFull(h.rw, h.data); err != nil {
		return false, err
	}
	h.out = h.out[:0]
	entered, err := h.answer(option)
	if len(h.out) > 0 {
		if _, werr := h.rw.Write(h.out); err == nil {
			err = werr
		}
	}
	return entered && err == nil, err
}

// answer puts the reply to option, whose data is h.data, in h.out.
func (h *nbdHaggle) answer(option uint32) (entered bool, err error) {
	switch option {
	case nbdOptExportName:
		return h.exportName()
	case nbdOptAbort:
		h.reply(option, nbdRepAck, nil)
		return false, errNBDAborted
	case nbdOptList:
		if h.empty(option) {
			h.list()
		}
	case nbdOptInfo, nbdOptGo:
		return h.choose(option), nil
	case nbdOptStructuredReply:
		if h.empty(option) {
			h.structured = true
			h.reply(option, nbdRepAck, nil)
		}
	case nbdOptStartTLS:
		// "The server MUST either reply with NBD_REP_ACK ... or an error reply"
		// ("Option types"). Who may open a unix socket is a matter of its mode.
		if h.empty(option) {
			h.reply(option, nbdRepErrUnsup, []byte("no TLS on a unix socket"))
		}
	default:
		h.reply(option, nbdRepErrUnsup, nil)
	}
	return false, nil
}

// tooBig refuses an option that is longer than any that is understood.
func (h *nbdHaggle) tooBig(option, length uint32) error {
	if length > nbdMaxSkip || option == nbdOptExportName {
		return fmt.Errorf("attach: NBD option %d with %d bytes", option, length)
	}
	if _, err := io.CopyN(io.Discard, h.rw, int64(length)); err != nil {
		return err
	}
	h.out = h.out[:0]
	h.reply(option, nbdRepErrTooBig, nil)
	_, err := h.rw.Write(h.out)
	return err
}

// exportName is the oldest way to enter the transmission phase. It knows no
// error: if there is no such export, "the server MUST terminate the session".
func (h *nbdHaggle) exportName() (bool, error) {
	if !h.known(h.data) {
		return false, fmt.Errorf("attach: NBD client asked for export %.100q, which is not served here", h.data)
	}
	h.out = binary.BigEndian.AppendUint64(h.out, uint64(h.export.size))
	h.out = binary.BigEndian.AppendUint16(h.out, h.export.flags)
	if !h.noZeroes {
		h.out = append(h.out, make([]byte, 124)...)
	}
	return true, nil
}

func (h *nbdHaggle) list() {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(h.export.name)))
	b = append(b, h.export.name...)
	b = append(b, h.export.description...)
	h.reply(nbdOptList, nbdRepServer, b)
	h.reply(nbdOptList, nbdRepAck, nil)
}

// choose answers INFO and GO, which have the same data: the length of a name,
// the name, a count, and as many information types of 16 bits.
func (h *nbdHaggle) choose(option uint32) (entered bool) {
	name, wanted, ok := parseNBDChoice(h.data)
	if !ok {
		h.reply(option, nbdRepErrInvalid, []byte("lengths do not add up"))
		return false
	}
	if !h.known(name) {
		h.reply(option, nbdRepErrUnknown, []byte("the export here is "+h.export.name))
		return false
	}
	// "The server MUST send at least one NBD_REP_INFO, with an
	// NBD_INFO_EXPORT information type" ("Option types"). The block sizes are
	// told to everybody, because requests that ignore them are refused.
	h.info(option, nbdInfoExport, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint64(b, uint64(h.export.size))
		return binary.BigEndian.AppendUint16(b, h.export.flags)
	})
	h.info(option, nbdInfoBlockSize, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, SectorSize)
		b = binary.BigEndian.AppendUint32(b, uint32(h.export.preferred))
		return binary.BigEndian.AppendUint32(b, uint32(h.export.maximum))
	})
	told := [4]bool{nbdInfoExport: true, nbdInfoBlockSize: true}
	for ; len(wanted) >= 2; wanted = wanted[2:] {
		kind := binary.BigEndian.Uint16(wanted)
		if int(kind) >= len(told) || told[kind] {
			continue // unknown ones are ignored, repeated ones told once
		}
		told[kind] = true
		text := h.export.name
		if kind == nbdInfoDescription {
			text = h.export.description
		}
		h.info(option, kind, func(b []byte) []byte { return append(b, text...) })
	}
	h.reply(option, nbdRepAck, nil)
	return option == nbdOptGo
}

// parseNBDChoice splits the data of INFO and GO.
func parseNBDChoice(d []byte) (name, wanted []byte, ok bool) {
	if len(d) < 6 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(d))
	if n > uint64(len(d)-6) {
		return nil, nil, false
	}
	name, d = d[4:4+n], d[4+n:]
	count := int(binary.BigEndian.Uint16(d))
	if len(d) != 2+2*count {
		return nil, nil, false
	}
	return name, d[2:], true
}

func (h *nbdHaggle) known(name []byte) bool {
	return len(name) == 0 || string(name) == h.export.name
}

// empty refuses data with an option that has none.
func (h *nbdHaggle) empty(option uint32) bool {
	if len(h.data) == 0 {
		return true
	}
	h.reply(option, nbdRepErrInvalid, []byte("this option has no data"))
	return false
}

func (h *nbdHaggle) reply(option, kind uint32, data []byte) {
	h.out = appendNBDOptReply(h.out, option, kind, len(data))
	h.out = append(h.out, data...)
}

func (h *nbdHaggle) info(option uint32, kind uint16, put func([]byte) []byte) {
	h.reply(option, nbdRepInfo, put(binary.BigEndian.AppendUint16(nil, kind)))
}

// nbdPreferred rounds the length that a path likes down to what may be told:
// "this MUST be a power of 2" ("Size constraints"). It is not smaller than a
// page, the unit of everybody's caches.
func nbdPreferred(n, maximum int) int {
	n = min(max(n, 4096), maximum)
	return 1 << (bits.Len(uint(n)) - 1)
}
