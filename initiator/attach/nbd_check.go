package attach

import "errors"

var (
	errNBDPayload  = errors.New("attach: NBD client sent a write longer than any client may")
	errNBDMidReply = errors.New("attach: disk failed in the middle of a simple reply")
)

// check refuses a request that cannot be served, as "Error values" says.
func (t *nbdTransmission) check(q nbdRequest) nbdErrno {
	var allowed, needed uint16
	changes, payload := false, false
	beyond := nbdEINVAL
	switch q.command {
	case nbdCmdRead:
		payload = true
	case nbdCmdWrite:
		changes, payload, beyond = true, true, nbdENOSPC
	case nbdCmdFlush:
		// "length and offset are reserved, and MUST be set to all-zero"
		if q.length != 0 || q.offset != 0 || q.flags&^nbdFlagFUA != 0 {
			return nbdEINVAL
		}
		return 0
	case nbdCmdTrim:
		changes, needed = true, nbdSendTrim
	case nbdCmdWriteZeroes:
		changes, beyond = true, nbdENOSPC
		allowed = nbdFlagNoHole
		if t.flags&nbdSendFastZero != 0 {
			allowed |= nbdFlagFastZero
		}
	default:
		return nbdEINVAL
	}
	// "the server MUST accept all commands with this bit set" ("Command flags")
	allowed |= nbdFlagFUA
	switch {
	case changes && t.info.ReadOnly:
		return nbdEPERM
	case t.flags&needed != needed, q.flags&^allowed != 0:
		return nbdEINVAL
	case payload && q.length > nbdMaxPayload:
		return t.tooLong(q.command)
	case q.length == 0, q.length%SectorSize != 0, q.offset%SectorSize != 0:
		return nbdEINVAL
	}
	// Widened before adding: offset and length come from the client.
	if size := uint64(t.disk.Size()); q.offset > size || uint64(q.length) > size-q.offset {
		return beyond
	}
	if q.flags&nbdFlagFastZero != 0 && q.flags&nbdFlagNoHole != 0 {
		// Only trimming is faster than writing, and that leaves a hole.
		return nbdENOTSUP
	}
	return 0
}

// tooLong is the error for a payload longer than was announced.
func (t *nbdTransmission) tooLong(command uint16) nbdErrno {
	if command == nbdCmdRead && t.structured {
		// "the server is also permitted to reject large read requests up
		// front with NBD_EOVERFLOW" ("Request types")
		return nbdEOVERFLOW
	}
	return nbdEINVAL
}
