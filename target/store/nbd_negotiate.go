package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// An nbdExport is what a server tells of an export.
type nbdExport struct {
	size      uint64
	flags     uint16
	minimum   uint32 // block sizes; 0: not told
	preferred uint32
	maximum   uint32
}

func (e nbdExport) can(flag uint16) bool { return e.flags&flag != 0 }

// payload is how many bytes a request may have, in whole sectors.
func (e nbdExport) payload() int {
	if e.maximum == 0 {
		return nbdDefaultMaximum
	}
	return int(min(e.maximum-e.maximum%SectorSize, nbdDefaultMaximum))
}

// validate refuses an export that cannot be a disk of sectors.
func (e nbdExport) validate() error {
	switch {
	case e.flags&nbdHasFlags == 0:
		return errors.New("the NBD server sent no transmission flags")
	case e.size > math.MaxInt64:
		return fmt.Errorf("the NBD server tells a size of %d bytes", e.size)
	case e.maximum != 0 && e.maximum < SectorSize:
		return fmt.Errorf("the NBD server takes no more than %d bytes at once: less than a sector", e.maximum)
	}
	return nil
}

// errNBDBlocks means that the server wants larger blocks than sectors.
var errNBDBlocks = errors.New("the NBD server takes only blocks larger than a sector of 512 bytes: " +
	"put nbdkit --filter=blocksize-policy or --filter=blocksize in front of it")

// negotiateNBD goes from the first byte of a connection to the transmission
// phase of the export name. blocks asks for the block sizes, which allows the
// server to rely on them; one that needs larger blocks than sectors may do
// without when it is not asked ("Block size constraints").
func negotiateNBD(conn io.ReadWriter, name string, blocks bool) (nbdExport, error) {
	var hello [18]byte
	if _, err := io.ReadFull(conn, hello[:]); err != nil {
		return nbdExport{}, fmt.Errorf("NBD server's greeting: %w", unexpected(err))
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdMagic || binary.BigEndian.Uint64(hello[8:]) != nbdOptionMagic {
		return nbdExport{}, errors.New("what listens there is no NBD server, or one of before 2011")
	}
	theirs := binary.BigEndian.Uint16(hello[16:])
	if theirs&nbdFixedNewstyle == 0 {
		return nbdExport{}, errors.New("the NBD server does not speak fixed newstyle negotiation: use nbdkit or qemu-nbd")
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(theirs)&(nbdFixedNewstyle|nbdNoZeroes))
	out = binary.BigEndian.AppendUint64(out, nbdOptionMagic)
	out = binary.BigEndian.AppendUint32(out, nbdOptGo)
	var want []uint16
	if blocks {
		want = []uint16{nbdInfoBlockSize}
	}
	out = binary.BigEndian.AppendUint32(out, uint32(4+len(name)+2+2*len(want)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(name)))
	out = append(out, name...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(want)))
	for _, w := range want {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	if _, err := conn.Write(out); err != nil {
		return nbdExport{}, err
	}
	return awaitNBDExport(conn, name)
}

// awaitNBDExport reads the replies to NBD_OPT_GO until the one that ends them.
func awaitNBDExport(conn io.Reader, name string) (e nbdExport, err error) {
	told := false
	for {
		var h [20]byte
		if _, err := io.ReadFull(conn, h[:]); err != nil {
			return e, fmt.Errorf("NBD server's reply to NBD_OPT_GO: %w", unexpected(err))
		}
		kind, n := binary.BigEndian.Uint32(h[12:]), binary.BigEndian.Uint32(h[16:])
		if binary.BigEndian.Uint64(h[:]) != nbdOptReplyMagic || binary.BigEndian.Uint32(h[8:]) != nbdOptGo || n > nbdMaxOptReply {
			return e, errors.New("the NBD server answered something that was not asked")
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(conn, data); err != nil {
			return e, fmt.Errorf("NBD server's reply to NBD_OPT_GO: %w", unexpected(err))
		}
		switch {
		case kind == nbdRepAck && told:
			return e, e.validate()
		case kind == nbdRepInfo:
			is, err := e.learn(data)
			if err != nil {
				return e, err
			}
			told = told || is
		case kind&nbdOptReplyError != 0:
			return e, refusedNBD(kind, name, data)
		default:
			return e, fmt.Errorf("the NBD server's reply of type %d to NBD_OPT_GO is out of place", kind)
		}
	}
}

// learn takes over one NBD_REP_INFO, and tells whether it was the one that is
// never left out.
func (e *nbdExport) learn(b []byte) (export bool, err error) {
	if len(b) < 2 {
		return false, errors.New("the NBD server sent an information without a type")
	}
	switch kind, b := binary.BigEndian.Uint16(b), b[2:]; kind {
	case nbdInfoExport:
		if len(b) != 10 {
			return false, fmt.Errorf("the NBD server described the export in %d bytes, want 10", len(b))
		}
		e.size, e.flags = binary.BigEndian.Uint64(b), binary.BigEndian.Uint16(b[8:])
		return true, nil
	case nbdInfoBlockSize:
		if len(b) != 12 {
			return false, fmt.Errorf("the NBD server told block sizes in %d bytes, want 12", len(b))
		}
		e.minimum, e.preferred, e.maximum = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		if e.minimum > SectorSize {
			return false, errNBDBlocks
		}
	}
	return false, nil // others "MUST be ignored" if not known
}

// refusedNBD is what a server says instead of letting us in.
func refusedNBD(kind uint32, name string, message []byte) error {
	said := ""
	if len(message) > 0 {
		said = fmt.Sprintf(" (it says: %q)", message[:min(len(message), 200)])
	}
	switch kind {
	case nbdRepErrUnknown:
		return fmt.Errorf("the NBD server has no export %q%s: nbdinfo --list shows what it has", name, said)
	case nbdRepErrTLS:
		return fmt.Errorf("the NBD server wants TLS, which is not spoken here%s: use a unix socket or a private network", said)
	case nbdRepErrUnsup:
		return fmt.Errorf("the NBD server does not know NBD_OPT_GO%s: use nbdkit or qemu-nbd", said)
	case nbdRepErrPolicy:
		return fmt.Errorf("the NBD server does not let us in%s", said)
	case nbdRepErrShutdown:
		return fmt.Errorf("the NBD server is shutting down%s", said)
	case nbdRepErrBlocks:
		return errNBDBlocks
	}
	return fmt.Errorf("the NBD server refused NBD_OPT_GO with error %d%s", kind&^nbdOptReplyError, said)
}
