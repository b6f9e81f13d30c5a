package rundir

import (
	"time"

	"aoe/frame"
)

// A Status is how an attached disk is at a moment, as told by the process that
// holds it.
type Status struct {
	Addr      frame.Addr `json:"address"`
	Device    string     `json:"device"` // path of a block device or socket; empty until attached
	Via       string     `json:"via"`    // "fuse" or "nbd"
	Interface string     `json:"interface"`
	SizeBytes int64      `json:"sizeBytes"`
	ReadOnly  bool       `json:"readOnly"`
	State     string     `json:"state"`            // "attaching", "up", "down" or "detaching"
	Reason    string     `json:"reason,omitempty"` // why it is not up
	PID       int        `json:"pid"`
	Since     time.Time  `json:"since"`
}
