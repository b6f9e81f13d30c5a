package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// The client's part of the Network Block Device protocol, doc/proto.md of
// https://github.com/NetworkBlockDevice/nbd. All numbers are big-endian.
// Sections named in comments are that document's. Only simple replies are
// asked for: what structured ones add, errors in the middle of a read and
// holes, is of no use to a disk that must have all of the data or an error.

// "Fixed newstyle negotiation".
const (
	nbdMagic          = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOptionMagic    = 0x49484156454f5054 // "IHAVEOPT"
	nbdOptReplyMagic  = 0x0003e889045565a9
	nbdFixedNewstyle  = 1 << 0
	nbdNoZeroes       = 1 << 1
	nbdOptGo          = 7
	nbdRepAck         = 1
	nbdRepInfo        = 3
	nbdOptReplyError  = 1 << 31
	nbdRepErrUnsup    = nbdOptReplyError | 1
	nbdRepErrPolicy   = nbdOptReplyError | 2
	nbdRepErrTLS      = nbdOptReplyError | 5
	nbdRepErrUnknown  = nbdOptReplyError | 6
	nbdRepErrShutdown = nbdOptReplyError | 7
	nbdRepErrBlocks   = nbdOptReplyError | 8
	nbdInfoExport     = 0
	nbdInfoBlockSize  = 3

	// nbdMaxName is "the maximum string length", nbdMaxOptReply more than any
	// option reply that can be meant: a message, or a name.
	nbdMaxName     = 4096
	nbdMaxOptReply = 64 << 10

	// nbdDefaultMaximum is the largest payload that a server that did not say
	// otherwise takes ("Block size constraints").
	nbdDefaultMaximum = 32 << 20
)

// "Transmission flags".
const (
	nbdHasFlags        = 1 << 0
	nbdReadOnly        = 1 << 1
	nbdSendFlush       = 1 << 2
	nbdSendFUA         = 1 << 3
	nbdRotational      = 1 << 4
	nbdSendTrim        = 1 << 5
	nbdSendWriteZeroes = 1 << 6
)

// "Request types" and "Command flags".
const (
	nbdCmdRead        = 0
	nbdCmdWrite       = 1
	nbdCmdDisconnect  = 2
	nbdCmdFlush       = 3
	nbdCmdTrim        = 4
	nbdCmdWriteZeroes = 6

	nbdFlagFUA = 1 << 0
)

// "Transmission phase".
const (
	nbdRequestMagic = 0x25609513
	nbdSimpleMagic  = 0x67446698
	nbdRequestLen   = 28
	nbdReplyLen     = 16
)

// An nbdErrno is what a server says went wrong ("Error values"), as an error.
type nbdErrno uint32

const (
	nbdEPERM     nbdErrno = 1
	nbdEINVAL    nbdErrno = 22
	nbdENOSPC    nbdErrno = 28
	nbdESHUTDOWN nbdErrno = 108
)

func (e nbdErrno) Error() string {
	name, ok := map[nbdErrno]string{
		nbdEPERM: "operation not permitted", 5: "input/output error", 12: "out of memory", nbdEINVAL: "invalid argument",
		nbdENOSPC: "no space left", 75: "value too large", 95: "not supported", nbdESHUTDOWN: "shutting down",
	}[e]
	if !ok {
		name = "unknown error"
	}
	return fmt.Sprintf("NBD server: %s (%d)", name, uint32(e))
}

// Is says what an error is called elsewhere.
func (e nbdErrno) Is(target error) bool {
	return e == nbdEPERM && target == os.ErrPermission || e == nbdEINVAL && target == os.ErrInvalid
}

// appendNBDRequest encodes a request's header behind b; the data of a write
// follows.
func appendNBDRequest(b []byte, flags, command uint16, cookie, offset uint64, length uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, nbdRequestMagic)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, command)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, offset)
	return binary.BigEndian.AppendUint32(b, length)
}

var (
	errNBDMagic  = errors.New("store: NBD server sent what is no reply")
	errNBDCookie = errors.New("store: NBD server answered a request that was not made")
)

// parseNBDReply reads the header of a simple reply.
func parseNBDReply(b []byte) (cookie uint64, e nbdErrno, err error) {
	_ = b[nbdReplyLen-1]
	if binary.BigEndian.Uint32(b) != nbdSimpleMagic {
		return 0, 0, errNBDMagic
	}
	return binary.BigEndian.Uint64(b[8:]), nbdErrno(binary.BigEndian.Uint32(b[4:])), nil
}
