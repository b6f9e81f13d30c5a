package lab

import (
	"aoe/initiator"
	"aoe/initiator/engine"
)

// framesBetween is what the initiator did with frames between two looks at its
// counters. The low-water mark is that of its whole life.
func framesBetween(before, after initiator.Stats) *Frames {
	b, a := reasons(before.Drops), reasons(after.Drops)
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

// reasons are the engine's, in words.
func reasons(d engine.Drops) map[string]uint64 {
	return map[string]uint64{
		"too short":              d.Short,
		"not AoE":                d.EtherType,
		"a request":              d.Request,
		"another version":        d.Version,
		"not from the target":    d.Source,
		"another disk":           d.Address,
		"not to us":              d.Destination,
		"tag never given out":    d.Tag,
		"answered already":       d.Late,
		"another command":        d.Command,
		"cut short":              d.Truncated,
		"announcement (noticed)": d.Announce,
	}
}
