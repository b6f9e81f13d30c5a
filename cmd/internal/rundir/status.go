package rundir

import (
	"time"

	"aoe/cmd/internal/tier"
	"aoe/frame"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/initiator/guard"
	"aoe/reserve/harden"
)

// A Status is how an attached disk is at a moment, as told by the process that
// holds it.
type Status struct {
	Addr      frame.Addr `json:"address"`
	Device    string     `json:"device"` // path of a block device or socket; empty until attached
	Via       string     `json:"via"`    // name of an attach.Way
	Interface string     `json:"interface"`
	SizeBytes int64      `json:"sizeBytes"`
	Model     string     `json:"model"`
	Serial    string     `json:"serial"`
	ReadOnly  bool       `json:"readOnly"`
	State     string     `json:"state"`            // "attaching", or an initiator.Condition
	Reason    string     `json:"reason,omitempty"` // why it is not up
	PID       int        `json:"pid"`
	Since     time.Time  `json:"since"`

	// Stats and what follows is nil until the disk is attached, and those of
	// the ways by which it is not attached stay nil.
	Stats *initiator.Stats  `json:"stats,omitempty"`
	NBD   *attach.NBDStats  `json:"nbd,omitempty"`
	FUSE  *attach.FUSEStats `json:"fuse,omitempty"`
	UBLK  *attach.UBLKStats `json:"ublk,omitempty"`

	// Tier says what is guaranteed when memory runs out.
	Tier *tier.Tier `json:"tier,omitempty"`
	// Kernel is how the kernel helps.
	Kernel *Kernel `json:"kernel,omitempty"`
	// Hardening is nil unless the disk was attached with --swap-safe.
	Hardening *Hardening `json:"hardening,omitempty"`
}

// Kernel is what of the kernel's help there is, and what it has done.
type Kernel struct {
	Tier guard.Tier `json:"tier"`
	// Filter is nil if the filter is a classic one, Guard if there is none.
	Filter *guard.FilterStats `json:"filter,omitempty"`
	Guard  *guard.Stats       `json:"guard,omitempty"`
}

// Hardening is what was done to the process to keep it alive without memory.
type Hardening struct {
	Steps harden.Steps `json:"steps"`
	// ThreadsMade since the process was sealed; nil if not known.
	ThreadsMade *int `json:"threadsMade,omitempty"`
	// Pressure is nil where the kernel does not tell of it.
	Pressure *harden.PressureStats `json:"pressure,omitempty"`
}
