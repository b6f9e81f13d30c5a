package guard

// A verdict is what a program counted a frame as. The numbers are its keys in
// the map of counters.
type verdict int32

// The verdicts of the socket filter. Their order is that of the checks.
const (
	keptAnswer verdict = iota
	keptAnnouncement
	keptAsked // while the disk is looked for
	droppedElsewhere
	droppedShort
	droppedType
	droppedRequest
	droppedVersion
	droppedAddress
	droppedSource
	droppedDestination
	droppedTag
	droppedCommand
	filterVerdicts
)

// The verdicts of a guard. The first three are the filter's.
const (
	passedForeign  verdict = iota + keptAsked + 1 // memory is fine
	passedAllowed                                 // in crunch, by the allow list
	droppedForeign                                // in crunch
	droppedAoE                                    // in crunch: AoE that nobody here waits for
	guardVerdicts
)

// FilterStats count the frames that a disk's socket filter has seen: every frame
// with AoE's EtherType that reached the interface's protocol handlers.
type FilterStats struct {
	Answers       uint64 `json:"answers"`       // kept: to something outstanding
	Announcements uint64 `json:"announcements"` // kept: of the disk
	Asked         uint64 `json:"asked"`         // kept: of the disk, while it was looked for

	Elsewhere   uint64 `json:"elsewhere"`   // dropped: to another host, or of another network
	Short       uint64 `json:"short"`       // dropped: shorter than a header
	EtherType   uint64 `json:"etherType"`   // dropped: not AoE
	Request     uint64 `json:"request"`     // dropped: not a response
	Version     uint64 `json:"version"`     // dropped: of AoE, not 1
	Address     uint64 `json:"address"`     // dropped: another disk's
	Source      uint64 `json:"source"`      // dropped: not from the disk's target
	Destination uint64 `json:"destination"` // dropped: not to our port
	Tag         uint64 `json:"tag"`         // dropped: not outstanding
	Command     uint64 `json:"command"`     // dropped: not the one that was sent with that tag
}

// Kept is how many frames got into the ring, if there was room.
func (s FilterStats) Kept() uint64 { return s.Answers + s.Announcements + s.Asked }

// Dropped is how many did not.
func (s FilterStats) Dropped() uint64 {
	return s.Elsewhere + s.Short + s.EtherType + s.Request + s.Version + s.Address + s.Source +
		s.Destination + s.Tag + s.Command
}

// filterStats reads the counters by their keys.
func filterStats(n []uint64) FilterStats {
	return FilterStats{
		Answers:       n[keptAnswer],
		Announcements: n[keptAnnouncement],
		Asked:         n[keptAsked],
		Elsewhere:     n[droppedElsewhere],
		Short:         n[droppedShort],
		EtherType:     n[droppedType],
		Request:       n[droppedRequest],
		Version:       n[droppedVersion],
		Address:       n[droppedAddress],
		Source:        n[droppedSource],
		Destination:   n[droppedDestination],
		Tag:           n[droppedTag],
		Command:       n[droppedCommand],
	}
}
