package live

import (
	"time"

	"aoe/cmd/internal/rundir"
	"aoe/initiator/engine"
)

// A Step is a step of the lab's, as far as it has got.
type Step struct {
	Name string        `json:"name"`
	Did  string        `json:"did,omitempty"`
	Took time.Duration `json:"tookNs,omitempty"`
	Done bool          `json:"done"`
	OK   bool          `json:"ok"`
	Why  string        `json:"error,omitempty"`
}

// A Sample is a look at a disk: of rundir.Status, what the page shows.
type Sample struct {
	At int64 `json:"at"` // Unix time in milliseconds

	Attached bool   `json:"attached"`
	Disk     string `json:"disk,omitempty"`
	Device   string `json:"device,omitempty"`
	Via      string `json:"via,omitempty"`
	State    string `json:"state,omitempty"`
	Why      string `json:"why,omitempty"`
	// Since tells one attachment from the next, whose counters begin anew.
	Since int64 `json:"since,omitempty"`

	// Counters is nil until the disk is attached.
	Counters *Counters `json:"counters,omitempty"`
}

// Counters are those of Sample.
type Counters struct {
	Regime string `json:"regime"`
	Tier   string `json:"tier,omitempty"`

	Reserve int `json:"reserve"` // buffers set aside
	Free    int `json:"free"`    // of them
	Low     int `json:"low"`     // the least that ever were

	InFlight int `json:"inFlight"`
	Window   int `json:"window"`

	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
	Sent     uint64 `json:"sent"`
	Resent   uint64 `json:"resent"`
	Admitted uint64 `json:"admitted"` // frames that were kept
	Freed    uint64 `json:"freed"`    // frames freed at once
	// FreedBy is why; what never happened is left out.
	FreedBy     map[string]uint64 `json:"freedBy"`
	FromReserve uint64            `json:"fromReserve"`
	Waited      uint64            `json:"waited"`

	// Smoothed round trips in microseconds; nil until there was one.
	Read    *float64 `json:"readUs"`
	Write   *float64 `json:"writeUs"`
	Network *float64 `json:"networkUs"`
}

// sampleOf is what the page shows of a status; nil is a disk that is not
// attached.
func sampleOf(at time.Time, s *rundir.Status) Sample {
	sample := Sample{At: at.UnixMilli()}
	if s == nil {
		return sample
	}
	sample.Attached, sample.Disk, sample.Device, sample.Via = true, s.Addr.String(), s.Device, s.Via
	sample.State, sample.Why, sample.Since = s.State, s.Reason, s.Since.UnixMilli()
	st := s.Stats
	if st == nil {
		return sample
	}
	c := &Counters{
		Regime:  st.Reserve.Regime.String(),
		Reserve: st.Reserve.Reserve, Free: st.Reserve.FreeReserve, Low: st.Reserve.ReserveLow,
		InFlight: st.InFlight, Window: st.Window,
		Requests: st.Requests, Failed: st.Failed, Sent: st.Sent, Resent: st.Retransmitted,
		Admitted: st.Answered, Freed: st.Drops.Sum(), FreedBy: map[string]uint64{},
		FromReserve: st.Reserve.FromReserve, Waited: st.Reserve.Waited,
		Read: micros(st.Read), Write: micros(st.Write), Network: micros(st.Network),
	}
	for why, n := range Reasons(st.Drops) {
		if n > 0 {
			c.FreedBy[why] = n
		}
	}
	if s.Tier != nil {
		c.Tier = s.Tier.Name
	}
	sample.Counters = c
	return sample
}

func micros(g engine.Gauge) *float64 {
	if g.Samples == 0 {
		return nil
	}
	us := float64(g.Smooth) / float64(time.Microsecond)
	return &us
}

// Reasons why received frames were freed at once, in words.
func Reasons(d engine.Drops) map[string]uint64 {
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
