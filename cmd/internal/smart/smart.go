// Package smart sends a disk SMART commands (ATA8-ACS, 7.52), as they stand: it
// interprets nothing but the verdict of return_status.
package smart

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator"
)

// signature is in LBA bits 23:8 of every SMART command, "SMART LBA Mid shall be
// set to 4Fh, LBA High to C2h" (ATA8-ACS, 7.52); inverted is what return_status
// puts there when a threshold was exceeded.
const (
	signature     = 0xc24f00
	inverted      = 0x2cf400
	signatureMask = 0xffff00
)

// kinds are the commands, in the order of their help.
var kinds = []kind{
	{"read_data", 0xd0, true, false, false},
	{"offline_immediate", 0xd4, false, false, true},
	{"read_log", 0xd5, true, false, true},
	{"write_log", 0xd6, false, true, true},
	{"enable", 0xd8, false, false, false},
	{"disable", 0xd9, false, false, false},
	{"return_status", returnStatus, false, false, false},
}

const returnStatus = 0xda

type kind struct {
	name    string
	feature uint8
	reads   bool // a sector of data comes back
	writes  bool // a sector of data goes out
	takesN  bool // has a parameter in the low LBA register
}

// Names are the names of the commands.
func Names() string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return strings.Join(names, " ")
}

// A Command is a SMART command with its parameter.
type Command struct {
	kind
	n uint8
}

// Parse reads NAME or NAME:N.
func Parse(s string) (Command, error) {
	name, number, has := strings.Cut(s, ":")
	for _, k := range kinds {
		if k.name != name {
			continue
		}
		if !has {
			return Command{k, 0}, nil
		}
		n, err := strconv.ParseUint(number, 0, 8)
		if err != nil || !k.takesN {
			return Command{}, fmt.Errorf("smart: %q: only offline_immediate, read_log and write_log take a number, up to 255", s)
		}
		return Command{k, uint8(n)}, nil
	}
	return Command{}, fmt.Errorf("smart: there is no command %q: want one of %s", name, Names())
}

// Writes reports whether a sector of data goes with the command.
func (c Command) Writes() bool { return c.writes }

// An Answer is what the disk says to a command.
type Answer struct {
	Command string `json:"command"`
	Data    []byte `json:"data,omitempty"` // a sector, of the commands that read one
	Verdict string `json:"verdict,omitempty"`
	Failing bool   `json:"failing"` // return_status: a threshold was exceeded
}

// Send sends the command, with data if it writes.
func Send(ctx context.Context, l link.Link, t initiator.Target, c Command, data []byte) (Answer, error) {
	a := frame.NewATA(frame.OpSMART, signature|uint64(c.n), 0)
	a.Feature = c.feature
	sectors := 0
	if c.reads {
		sectors = 1
	}
	if c.reads || c.writes {
		a.Count = 1
	}
	if c.writes {
		a.AFlags |= frame.AFlagWrite
	}
	result, got, err := initiator.IssueATA(ctx, l, t, a, data, sectors)
	answer := Answer{Command: c.name}
	if err != nil {
		return answer, err
	}
	if c.reads {
		answer.Data = got
	}
	if c.feature == returnStatus {
		switch result.LBA & signatureMask {
		case signature:
			answer.Verdict = "no threshold exceeded: the disk expects no failure"
		case inverted:
			answer.Verdict, answer.Failing = "threshold exceeded: the disk expects to fail soon; copy it", true
		default:
			return answer, fmt.Errorf("smart: %s answers return_status with LBA %#x, which means nothing", t.Addr, result.LBA)
		}
	}
	return answer, nil
}
