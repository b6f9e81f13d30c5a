package initiator

import (
	"context"
	"fmt"
	"time"

	"aoe/frame"
	"aoe/frame/link"

	"github.com/mdlayher/aoe"
)

// commandFirst is when a single command is sent again.
const commandFirst = 200 * time.Millisecond

// Ping measures one query config request to t: the network and the target's
// code, but no disk. Without an answer it returns an error that is ErrNoAnswer
// when ctx ends. Nobody else may receive from the link meanwhile; that holds
// for all commands here.
func Ping(ctx context.Context, l link.Link, t Target) (time.Duration, error) {
	answer, err := QueryConfig(ctx, l, t, aoe.ConfigCommandRead, "")
	return answer.RTT, err
}

// QueryConfig sends a query config command (AoEr11, section 3.2) and returns the
// target as it answers. Sub-commands test and prefix are answered only if the
// string fits: silence is legal, and ends as ErrNoAnswer with ctx (H13). Set
// answers with a [*TargetError] of code ErrorConfigStringPresent if there is
// another string.
func QueryConfig(ctx context.Context, l link.Link, t Target, sub aoe.ConfigCommand, s string) (Target, error) {
	if len(s) > frame.MaxConfigString {
		return Target{}, fmt.Errorf("initiator: config string of %d bytes: at most %d", len(s), frame.MaxConfigString)
	}
	var got Target
	var said error
	err := newAsker(l).ask(ctx, question{
		header: frame.Header{Dst: t.MAC, Addr: t.Addr, Command: aoe.CommandQueryConfigInformation},
		arg:    frame.Config{Sub: sub, String: []byte(s)}.Append(nil),
		first:  commandFirst,
		accept: func(a answer) bool {
			if a.header.IsError() {
				said = &TargetError{a.header.Error}
				return true
			}
			c, err := frame.ParseConfig(a.arg)
			if err != nil {
				return false
			}
			got = a.target(c)
			return true
		},
	})
	if err == nil {
		err = said
	}
	return got, err
}

// Identify asks the disk what it is.
func Identify(ctx context.Context, l link.Link, t Target) (frame.Identify, error) {
	id, _, err := newAsker(l).identify(ctx, t, 0, 0)
	return id, err
}

// CheckPower asks the disk for its power mode: 0xff is active or idle, 0x80
// idle, 0 standby (ATA8-ACS, CHECK POWER MODE).
func CheckPower(ctx context.Context, l link.Link, t Target) (mode uint8, err error) {
	err = newAsker(l).ata(ctx, t, frame.NewATA(frame.OpCheckPower, 0, 0).Append(nil), 0, commandFirst,
		func(a frame.ATA, _ []byte) bool {
			mode = a.Count
			return true
		})
	return mode, err
}

// identify asks with a frame that is padded to frameLen bytes, which proves that
// frames of that length arrive (H15). It returns the raw data as well.
func (a *asker) identify(ctx context.Context, t Target, frameLen, tries int) (id frame.Identify, data []byte, err error) {
	arg := frame.ATA{Op: frame.OpIdentify, Count: 1}.Append(nil)
	if more := frameLen - frame.HeaderLen - len(arg); more > 0 {
		arg = append(arg, make([]byte, more)...)
	}
	first := commandFirst
	if tries > 0 {
		first = max(10*time.Millisecond, 4*t.RTT)
	}
	err = a.ata(ctx, t, arg, tries, first, func(_ frame.ATA, rest []byte) bool {
		d, err := frame.Data(rest, 1)
		if err != nil {
			return false
		}
		if id, err = frame.ParseIdentify(d); err != nil {
			return false // damaged on the way: another may arrive whole
		}
		data = append([]byte(nil), d...)
		return true
	})
	return id, data, err
}

// ata sends an ATA command and hands the answer to accept, unless it is an
// error.
func (a *asker) ata(ctx context.Context, t Target, arg []byte, tries int, first time.Duration,
	accept func(frame.ATA, []byte) bool) error {
	var said error
	err := a.ask(ctx, question{
		header: frame.Header{Dst: t.MAC, Addr: t.Addr, Command: aoe.CommandIssueATACommand},
		arg:    arg,
		first:  first,
		tries:  tries,
		accept: func(a answer) bool {
			if a.header.IsError() {
				said = &TargetError{a.header.Error}
				return true
			}
			result, rest, err := frame.ParseATA(a.arg)
			if err != nil {
				return false
			}
			if result.Status()&frame.StatusFault != 0 {
				said = &ATAError{Status: result.Status(), Reg: result.Feature}
				return true
			}
			return accept(result, rest)
		},
	})
	if err == nil {
		err = said
	}
	return err
}
