package lab

import (
	"aoe/cmd/internal/live"
	"aoe/initiator"
)

// framesBetween is what the initiator did with frames between two looks at its
// counters. The low-water mark is that of its whole life.
func framesBetween(before, after initiator.Stats) *Frames {
	b, a := live.Reasons(before.Drops), live.Reasons(after.Drops)
	f := &Frames{
		Admitted: after.Answered - before.Answered,
		Freed:    map[string]uint64{},
		Resent:   after.Retransmitted - before.Retransmitted,
		Crunch:   after.Reserve.FromReserve - before.Reserve.FromReserve,
		Low:      after.Reserve.ReserveLow,
		Reserve:  after.Reserve.Reserve,
	}
	for name, n := range a {
		if n > b[name] {
			f.Freed[name] = n - b[name]
		}
	}
	return f
}
