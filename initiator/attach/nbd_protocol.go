package attach

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
)

// The Network Block Device protocol, doc/proto.md of
// https://github.com/NetworkBlockDevice/nbd. All numbers are big-endian.
// Sections named in comments are that document's.

// "Fixed newstyle negotiation".
const (
	nbdMagic          = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOptionMagic    = 0x49484156454f5054 // "IHAVEOPT"
	nbdOptReplyMagic  = 0x0003e889045565a9
	nbdFixedNewstyle  = 1 << 0 // handshake flag, and the client's answer to it
	nbdNoZeroes       = 1 << 1
	nbdOptReplyError  = 1 << 31
	nbdOptReplyHeader = 20
	nbdOptionHeader   = 16
)

// "Option types".
const (
	nbdOptExportName      = 1
	nbdOptAbort           = 2
	nbdOptList            = 3
	nbdOptStartTLS        = 5
	nbdOptInfo            = 6
	nbdOptGo              = 7
	nbdOptStructuredReply = 8
)

// "Option reply types".
const (
	nbdRepAck        = 1
	nbdRepServer     = 2
	nbdRepInfo       = 3
	nbdRepErrUnsup   = nbdOptReplyError | 1
	nbdRepErrInvalid = nbdOptReplyError | 3
	nbdRepErrUnknown = nbdOptReplyError | 6
	nbdRepErrTooBig  = nbdOptReplyError | 9
)

// Information types of NBD_REP_INFO.
const (
	nbdInfoExport      = 0
	nbdInfoName        = 1
	nbdInfoDescription = 2
	nbdInfoBlockSize   = 3
)

// "Transmission flags".
const (
	nbdHasFlags        = 1 << 0
	nbdReadOnly        = 1 << 1
	nbdSendFlush       = 1 << 2
	nbdSendFUA         = 1 << 3
	nbdSendTrim        = 1 << 5
	nbdSendWriteZeroes = 1 << 6
	nbdCanMultiConn    = 1 << 8
	nbdSendFastZero    = 1 << 11
)

// "Request types" and "Command flags".
const (
	nbdCmdRead        = 0
	nbdCmdWrite       = 1
	nbdCmdDisconnect  = 2
	nbdCmdFlush       = 3
	nbdCmdTrim        = 4
	nbdCmdWriteZeroes = 6

	nbdFlagFUA      = 1 << 0
	nbdFlagNoHole   = 1 << 1
	nbdFlagFastZero = 1 << 4
)

// "Transmission phase": magic numbers, and the types of structured reply
// chunks.
const (
	nbdRequestMagic    = 0x25609513
	nbdSimpleMagic     = 0x67446698
	nbdStructuredMagic = 0x668e33ef

	nbdRequestLen    = 28
	nbdSimpleLen     = 16
	nbdChunkLen      = 20
	nbdOffsetLen     = 8 // in front of the data of an offset data chunk
	nbdChunkErrorLen = 6 // an error and the length of an empty message

	nbdChunkDone       = 1 << 0 // flag: the last chunk of the reply
	nbdChunkNone       = 0
	nbdChunkOffsetData = 1
	nbdChunkError      = 1<<15 | 1
)

// An nbdErrno is an error as a client sees it ("Error values").
type nbdErrno uint32

const (
	nbdEPERM     nbdErrno = 1
	nbdEIO       nbdErrno = 5
	nbdEINVAL    nbdErrno = 22
	nbdENOSPC    nbdErrno = 28
	nbdEOVERFLOW nbdErrno = 75
	nbdENOTSUP   nbdErrno = 95
	nbdESHUTDOWN nbdErrno = 108
)

// nbdErrnoOf is what a client is told of err. What has no name of its own in
// the protocol is an I/O error, as it is on any other block device.
func nbdErrnoOf(err error) nbdErrno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return nbdESHUTDOWN
	case errors.Is(err, os.ErrPermission):
		return nbdEPERM
	case errors.Is(err, os.ErrInvalid), errors.Is(err, errors.ErrUnsupported):
		// "The server SHOULD NOT return NBD_ENOTSUP except as documented in
		// response to NBD_CMD_WRITE_ZEROES" with the fast flag.
		return nbdEINVAL
	}
	return nbdEIO
}

// An nbdRequest is a parsed request header.
type nbdRequest struct {
	flags   uint16
	command uint16
	cookie  uint64
	offset  uint64
	length  uint32
}

// parseNBDRequest reads a request header. False means that the magic number is
// wrong: client and server no longer agree where requests start, so the
// connection is of no more use.
func parseNBDRequest(b []byte) (nbdRequest, bool) {
	_ = b[nbdRequestLen-1]
	return nbdRequest{
		flags:   binary.BigEndian.Uint16(b[4:]),
		command: binary.BigEndian.Uint16(b[6:]),
		cookie:  binary.BigEndian.Uint64(b[8:]),
		offset:  binary.BigEndian.Uint64(b[16:]),
		length:  binary.BigEndian.Uint32(b[24:]),
	}, binary.BigEndian.Uint32(b) == nbdRequestMagic
}

// appendNBDSimple encodes a simple reply's header behind b; the data of a
// successful read follows.
func appendNBDSimple(b []byte, e nbdErrno, cookie uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, nbdSimpleMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	return binary.BigEndian.AppendUint64(b, cookie)
}

// appendNBDChunk encodes the header of a structured reply's chunk behind b.
func appendNBDChunk(b []byte, flags, kind uint16, cookie uint64, length uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, nbdStructuredMagic)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, cookie)
	return binary.BigEndian.AppendUint32(b, length)
}

// appendNBDOffsetData encodes the chunk in front of length bytes of data that
// were read at offset.
func appendNBDOffsetData(b []byte, flags uint16, cookie, offset uint64, length uint32) []byte {
	b = appendNBDChunk(b, flags, nbdChunkOffsetData, cookie, length+nbdOffsetLen)
	return binary.BigEndian.AppendUint64(b, offset)
}

// appendNBDError encodes the last chunk of a reply that failed.
func appendNBDError(b []byte, e nbdErrno, cookie uint64) []byte {
	b = appendNBDChunk(b, nbdChunkDone, nbdChunkError, cookie, nbdChunkErrorLen)
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	return binary.BigEndian.AppendUint16(b, 0)
}

// appendNBDOptReply encodes the header of a reply to option behind b.
func appendNBDOptReply(b []byte, option, kind uint32, length int) []byte {
	b = binary.BigEndian.AppendUint64(b, nbdOptReplyMagic)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, kind)
	return binary.BigEndian.AppendUint32(b, uint32(length))
}
