package initiator

import (
	"errors"
	"fmt"
	"net"
	"os"

	"aoe/frame"
	"aoe/initiator/engine"

	"github.com/mdlayher/aoe"
)

// Errors that are found here, not told by the target.
var (
	// ErrDown: the target was silent for Config.DeadTime, or another disk
	// answers in its place. Disk.State says which, and since when.
	ErrDown = errors.New("initiator: disk is down")
	// ErrUnanswered: this request was not answered for Config.DeadTime, though
	// others were. It is a timeout (os.ErrDeadlineExceeded).
	ErrUnanswered = fmt.Errorf("initiator: not answered within the dead time: %w", os.ErrDeadlineExceeded)
	// ErrForgotten: what was acknowledged before a flush, and after the one before
	// it, may not be on the disk: the target had it in its write cache, which was
	// lost, with its machine's power for one, before it was flushed. It is told
	// once, to all who are flushing. docs/DURABILITY.md has it all. Write again what was written, or repair the file
	// system on the disk. Targets in mode sync forget nothing.
	ErrForgotten = errors.New("initiator: the target has lost its write cache: what was written since the last flush may be missing: write it again, or check the file system")
	// ErrNoAnswer: nobody answered a single command, or Open.
	ErrNoAnswer = errors.New("nobody answers")
	// ErrAmbiguous: disks with different serial numbers answer to one address.
	ErrAmbiguous = errors.New("several disks have this address")
	// ErrReplaced: the disk has another serial number than the one asked for.
	ErrReplaced = errors.New("another disk has this address")

	// ErrRange: beyond the end of the disk.
	ErrRange = errors.New("initiator: beyond the end of the disk")
	// ErrUnaligned: offset and length must be multiples of 512.
	ErrUnaligned = errors.New("initiator: offset or length is not a multiple of 512")
	// ErrTooLong: longer than one request can be.
	ErrTooLong = errors.New("initiator: longer than one request: see Disk.MaxRequest and Disk.MaxTrim")

	errClosed      = fmt.Errorf("initiator: disk: %w", net.ErrClosed)
	errUnsupported = fmt.Errorf("initiator: the disk does not serve this: %w", errors.ErrUnsupported)
	errCanceled    = errors.New("initiator: canceled") // nobody is left to see it
)

// A TargetError is an AoE error that the target answered with (H11). It is an
// answer: the request was not executed, and is not sent again.
type TargetError struct {
	Code aoe.Error
}

// Error tells the code in the specification's words (AoEr11, section 2.4).
func (e *TargetError) Error() string {
	what := "an error it has no name for"
	switch e.Code {
	case aoe.ErrorUnrecognizedCommandCode:
		what = "unrecognized command code"
	case aoe.ErrorBadArgumentParameter:
		what = "bad argument parameter"
	case aoe.ErrorDeviceUnavailable:
		what = "device unavailable"
	case aoe.ErrorConfigStringPresent:
		what = "config string present"
	case aoe.ErrorUnsupportedVersion:
		what = "unsupported version"
	case aoe.ErrorTargetIsReserved:
		what = "target is reserved: aoe reserve shows by whom"
	}
	return fmt.Sprintf("initiator: target answers with error %d: %s", uint8(e.Code), what)
}

// targetErrors are all there can be, made once so that failing costs nothing.
var targetErrors = func() (all [256]TargetError) {
	for i := range all {
		all[i].Code = aoe.Error(i)
	}
	return all
}()

// An ATAError is an error that the disk, not the target, answered with.
type ATAError struct {
	Status uint8  // status register
	Reg    uint8  // error register
	LBA    uint64 // first sector of the frame that failed
}

// Error names the bits of the error register (ATA8-ACS).
func (e *ATAError) Error() string {
	what := ""
	for _, b := range []struct {
		bit  uint8
		name string
	}{{frame.ErrorUNC, " uncorrectable data"}, {frame.ErrorIDNF, " no such sector"}, {frame.ErrorABRT, " aborted"}} {
		if e.Reg&b.bit != 0 {
			what += b.name
		}
	}
	return fmt.Sprintf("initiator: disk error near sector %d: status %#02x, error %#02x%s", e.LBA, e.Status, e.Reg, what)
}

// errorOf is the error of r's outcome. An ATAError is part of r.
func (r *Request) errorOf(o engine.Outcome) error {
	switch o.Result {
	case engine.OK:
		return nil
	case engine.TargetError:
		return &targetErrors[o.Code]
	case engine.ATAError:
		r.ataError = ATAError{Status: o.Status, Reg: o.Error, LBA: o.LBA}
		return &r.ataError
	case engine.Unanswered:
		return ErrUnanswered
	case engine.Down:
		return ErrDown
	case engine.Forgotten:
		return ErrForgotten
	case engine.Canceled:
		return errCanceled
	}
	return errClosed
}

// lasting is err, but independent of the request that it came from.
func lasting(err error) error {
	if e, ok := err.(*ATAError); ok {
		copied := *e
		return &copied
	}
	return err
}
