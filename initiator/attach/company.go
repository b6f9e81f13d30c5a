package attach

import "aoe/initiator"

// An accompanied disk has a loop that companions can join, as an
// *initiator.Disk with a link that can wait for other descriptors.
type accompanied interface {
	Accompanies() bool
	Accompany(fd int, c initiator.Companion) error
	Nudge()
}
