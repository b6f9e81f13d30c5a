package target

import (
	"aoe/frame"
	"aoe/frame/link"
	"aoe/target/store"
)

// Stats are the counters of a server since disks and links were added.
type Stats struct {
	Disks []DiskStats `json:"disks"` // in the order of their addresses
	Links []PortStats `json:"links"` // in the order in which they were added
}

// DiskStats tells of one disk.
type DiskStats struct {
	Addr     frame.Addr `json:"addr"`
	Name     string     `json:"name"` // of the store
	Serial   string     `json:"serial"`
	Sectors  uint64     `json:"sectors"`
	Mode     Mode       `json:"mode"`
	ReadOnly bool       `json:"readOnly"`
	Trim     bool       `json:"trim"`
	// Volatile tells that there is no stable storage beneath, so that no mode
	// can promise any.
	Volatile bool `json:"volatile,omitempty"`

	BufferCount int `json:"bufferCount"` // advertised
	Buffers     int `json:"buffers"`     // reserved
	Held        int `json:"held"`        // in use now
	Unsynced    int `json:"unsynced"`    // of them, waiting for the next sync

	// Bounced is how many reads and writes a store that goes past the page
	// cache had to copy.
	Bounced uint64 `json:"bounced"`

	// SyncTimes are those of Syncs.
	SyncTimes Latency `json:"syncTimes"`

	// Failed is why writes and flushes fail since a sync has: empty if none
	// did. Broken is the latest other failure.
	Failed string `json:"failed,omitempty"`
	Broken string `json:"broken,omitempty"`

	Settings Settings `json:"settings"`
	DiskCounts
}

// DiskCounts count requests to a disk, except where they say bytes.
type DiskCounts struct {
	Reads      uint64 `json:"reads"`
	ReadBytes  uint64 `json:"readBytes"`
	Writes     uint64 `json:"writes"`
	WriteBytes uint64 `json:"writeBytes"`
	Flushes    uint64 `json:"flushes"`
	Trims      uint64 `json:"trims"`
	Identifies uint64 `json:"identifies"`
	Queries    uint64 `json:"queries"` // of the config string
	Edits      uint64 `json:"edits"`   // of config string, mask and reserve list

	Syncs uint64 `json:"syncs"` // by which writes and flushes were committed

	ReadErrors  uint64 `json:"readErrors"`
	WriteErrors uint64 `json:"writeErrors"` // of writes and trims
	FlushErrors uint64 `json:"flushErrors"`
	SyncErrors  uint64 `json:"syncErrors"`
	KeepErrors  uint64 `json:"keepErrors"` // edits that could not be kept
	SizeErrors  uint64 `json:"sizeErrors"` // looks at the size that failed

	Refused uint64 `json:"refused"` // answered with an error of AoE
	Aborted uint64 `json:"aborted"` // ATA commands that there are not
	Masked  uint64 `json:"masked"`  // from MACs that are not on the mask
	Copies  uint64 `json:"copies"`  // of requests still under way (H2)
	// LateCopies of writes that were answered already are answered once more
	// and not carried out (H1).
	LateCopies uint64 `json:"lateCopies"`
	Waited     uint64 `json:"waited"`   // for others to the same sectors (H3)
	Overflow   uint64 `json:"overflow"` // found no buffer, or no more for their initiator (H7, H23)
	HeldMost   uint64 `json:"heldMost"` // buffers in use at once
}

// PortStats tells of one link.
type PortStats struct {
	Name    string     `json:"name"`
	MAC     frame.MAC  `json:"mac"`
	MTU     int        `json:"mtu"`
	Up      bool       `json:"up"`
	Sectors int        `json:"sectors"` // most in a frame
	Link    link.Stats `json:"link"`
	// Ended is why the link is served no longer: empty if it is.
	Ended string `json:"ended,omitempty"`
	PortCounts
}

// PortCounts count frames received on a link, and what became of those that
// were not put to a disk.
type PortCounts struct {
	Frames      uint64 `json:"frames"`
	Replies     uint64 `json:"replies"`     // of those answered at once
	Foreign     uint64 `json:"foreign"`     // not AoE
	Runts       uint64 `json:"runts"`       // shorter than a header
	Forged      uint64 `json:"forged"`      // responses, or from a group address or our own
	Misdirected uint64 `json:"misdirected"` // to another station
	NoDisk      uint64 `json:"noDisk"`      // to an address that is not served here
	Limited     uint64 `json:"limited"`     // to a wildcard, beyond WildcardReplies
	Announced   uint64 `json:"announced"`   // times that all disks were announced
}

// Stats takes the counters as they are now.
func (s *Server) Stats() Stats {
	var st Stats
	for _, d := range s.all() {
		st.Disks = append(st.Disks, d.stats())
	}
	for _, p := range s.allPorts() {
		st.Links = append(st.Links, p.stats())
	}
	return st
}

func (d *disk) stats() DiskStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := DiskStats{
		Addr: d.addr, Name: d.info.Name, Serial: d.serial, Sectors: d.sectors,
		Mode: d.mode, ReadOnly: d.readOnly, Trim: d.trim, Volatile: d.info.Volatile,
		BufferCount: d.buffers, Buffers: d.reserved(), Held: d.reserved() - len(d.free), Unsynced: len(d.unsynced),
		Settings: *d.settings.clone(), DiskCounts: d.counts, SyncTimes: d.syncTimes,
	}
	if b, ok := d.store.(store.Bouncer); ok {
		st.Bounced = b.Bounced()
	}
	if d.failed != nil {
		st.Failed = d.failed.Error()
	}
	if d.broken != nil {
		st.Broken = d.broken.Error()
	}
	return st
}

func (p *port) stats() PortStats {
	st := p.link.State()
	ps := PortStats{
		Name: st.Name, MAC: st.MAC, MTU: st.MTU, Up: st.Up,
		Sectors: p.sectorsOf(st), Link: p.link.Stats(),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ps.PortCounts = p.published
	if p.ended != nil {
		ps.Ended = p.ended.Error()
	}
	return ps
}
