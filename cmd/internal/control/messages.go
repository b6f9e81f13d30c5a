package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/cmd/internal/inventory"
	"aoe/frame"
	"aoe/target"
)

// A Status is what a target serves, and how it is.
type Status struct {
	Name   string    `json:"name"`
	PID    int       `json:"pid"`
	Since  time.Time `json:"since"`
	Config string    `json:"config,omitempty"` // path of its file
	// Disks are those that were asked for, in the order of Stats.Disks.
	Disks []inventory.Entry `json:"disks"`
	Stats target.Stats      `json:"stats"`
}

// Settings are what can be edited of a disk.
type Settings struct {
	ConfigString []byte      `json:"configString"`
	Mask         []frame.MAC `json:"mask"`
	Reserve      []frame.MAC `json:"reserve"`
}

type onDisk struct {
	Addr frame.Addr `json:"addr"`
}

type resize struct {
	Addr   frame.Addr `json:"addr"`
	Length int64      `json:"length"` // bytes; 0 is all there is
}

type maskEdit struct {
	Addr  frame.Addr `json:"addr"`
	Edits []string   `json:"edits"` // +MAC or -MAC
}

type setConfig struct {
	Addr         frame.Addr `json:"addr"`
	ConfigString []byte     `json:"configString"`
	Force        bool       `json:"force"`
}

type setReserve struct {
	Addr    frame.Addr  `json:"addr"`
	Reserve []frame.MAC `json:"reserve"` // none releases the disk
	Force   bool        `json:"force"`
}

type failure struct {
	Error string `json:"error"`
}

type nothing struct{}

// ParseMask reads the words of a mask edit.
func ParseMask(words []string) ([]frame.MaskDirective, error) {
	var all []frame.MaskDirective
	for _, w := range words {
		d := frame.MaskDirective{Directive: aoe.DirectiveCommandAdd}
		if w == "" {
			return nil, errors.New("an empty word: want +MAC to add or -MAC to delete")
		}
		switch w[0] {
		case '+':
		case '-':
			d.Directive = aoe.DirectiveCommandDelete
		default:
			return nil, fmt.Errorf("%q: want +MAC to add or -MAC to delete", w)
		}
		var err error
		if d.MAC, err = frame.ParseMAC(w[1:]); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}
