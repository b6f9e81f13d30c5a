package initiator

import (
	"context"
	"fmt"
	"slices"

	"aoe/frame"
	"aoe/frame/link"

	"github.com/mdlayher/aoe"
)

// A MaskError is why a disk did not edit its MAC mask list (AoEr11, section
// 3.3): edits before the one at Index were carried out.
type MaskError struct {
	Code  aoe.MACMaskError
	Index int
}

// Error tells the code in words.
func (e *MaskError) Error() string {
	what := "an error it has no name for"
	switch e.Code {
	case aoe.MACMaskErrorUnspecified:
		what = "an error that it does not specify"
	case aoe.MACMaskErrorBadCommand:
		what = "a directive that it does not know"
	case aoe.MACMaskErrorListFull:
		what = "its list is full: remove an entry first"
	}
	return fmt.Sprintf("initiator: target answers to edit %d of its mask: %s", e.Index, what)
}

// MaskList edits the list of MACs that may talk to the disk, in the given
// order, and returns it as it is then; without edits it only reads. An empty
// list lets everybody talk to it. A disk that is asked by a MAC that is not on
// its list is silent, so removing one's own ends in ErrNoAnswer if the answer
// is lost.
//
// An edit that the disk does not carry out is a [*MaskError].
func MaskList(ctx context.Context, l link.Link, t Target, edits ...frame.MaskDirective) ([]frame.MAC, error) {
	if err := fits(l, "edits", len(edits), frame.MaskDirectivesOffset, frame.MaskDirectiveLen, frame.MaxMaskDirectives); err != nil {
		return nil, err
	}
	m := frame.Mask{Sub: aoe.MACMaskCommandRead, Count: uint8(len(edits))}
	if len(edits) > 0 {
		m.Sub = aoe.MACMaskCommandEdit
	}
	arg := m.Append(nil)
	for _, e := range edits {
		arg = e.Append(arg)
	}
	var list []frame.MAC
	var said error
	err := newAsker(l).list(ctx, t, aoe.CommandMACMaskList, arg, func(arg []byte) bool {
		m, err := frame.ParseMaskReply(arg)
		if err != nil {
			return false
		}
		if m.Error != 0 {
			said = &MaskError{m.Error, int(m.Count)}
			return true
		}
		for i := range m.Len() {
			list = append(list, m.At(i).MAC)
		}
		return true
	})
	if err == nil {
		err = said
	}
	return list, err
}

// ReserveList reads (sub-command read) or replaces the list of MACs that the
// disk is reserved for, and returns it as it is then. No MACs release the disk.
// Set is answered with a [*TargetError] of code ErrorTargetIsReserved if the
// list holds others and not this port's MAC; force set is always carried out.
func ReserveList(ctx context.Context, l link.Link, t Target, sub aoe.ReserveReleaseCommand, macs ...frame.MAC) ([]frame.MAC, error) {
	if err := fits(l, "MACs", len(macs), frame.ReserveMACsOffset, len(frame.MAC{}), frame.MaxReserveMACs); err != nil {
		return nil, err
	}
	arg := frame.Reserve{Sub: sub, Count: uint8(len(macs))}.Append(nil)
	for _, m := range macs {
		arg = m.Append(arg)
	}
	var list []frame.MAC
	err := newAsker(l).list(ctx, t, aoe.CommandReserveRelease, arg, func(arg []byte) bool {
		r, err := frame.ParseReserve(arg)
		if err != nil {
			return false
		}
		for i := range r.Len() {
			list = append(list, r.At(i))
		}
		return true
	})
	return list, err
}

// fits refuses a list that one frame cannot hold.
func fits(l link.Link, what string, n, offset, each, most int) error {
	most = min(most, (l.State().MTU+frame.EthernetLen-offset)/each)
	if n > most {
		return fmt.Errorf("initiator: %d %s: a frame holds at most %d, send fewer at a time", n, what, most)
	}
	return nil
}

// list sends a command that is answered with a list.
func (a *asker) list(ctx context.Context, t Target, c aoe.Command, arg []byte, accept func(arg []byte) bool) error {
	var said error
	err := a.ask(ctx, question{
		header: frame.Header{Dst: t.MAC, Addr: t.Addr, Command: c},
		arg:    arg,
		first:  commandFirst,
		accept: func(a answer) bool {
			if a.header.IsError() {
				said = &TargetError{a.header.Error}
				return true
			}
			return accept(a.arg)
		},
	})
	if err == nil {
		err = said
	}
	return err
}

// IssueATA sends one ATA command as it stands, with data behind it, again and
// again until it is answered: it must be one that may be carried out twice. It
// returns the registers of the answer and replySectors sectors of data. It is
// for commands that nothing else here sends (SMART, for one); reading, writing
// and everything that needs an order are a [Disk]'s.
//
// A status with an error in it is an [*ATAError].
func IssueATA(ctx context.Context, l link.Link, t Target, a frame.ATA, data []byte, replySectors int) (frame.ATA, []byte, error) {
	if n := frame.SectorsPerFrame(l.State().MTU); len(data) > n*frame.SectorSize || replySectors > n {
		return frame.ATA{}, nil, fmt.Errorf("initiator: a frame holds at most %d sectors on %s", n, l.State().Name)
	}
	var result frame.ATA
	var got []byte
	err := newAsker(l).ata(ctx, t, append(a.Append(nil), data...), 0, commandFirst, func(r frame.ATA, rest []byte) bool {
		d, err := frame.Data(rest, replySectors)
		if err != nil {
			return false // cut on its way: another may arrive whole
		}
		result, got = r, slices.Clone(d)
		return true
	})
	return result, got, err
}
