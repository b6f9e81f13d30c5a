// Package tier says in one word how much of a disk's work needs no memory of the
// machine, and in a few more what that guarantees and what it does not. It claims
// no more than the facts it is given.
package tier

// A Filter is what keeps foreign frames out of the socket.
type Filter uint8

// The filters.
const (
	NoFilter      Filter = iota
	ClassicFilter        // knows AoE, and no tags
	TagFilter            // eBPF: knows the tags that are outstanding
)

// Facts are what there is, of one attached disk.
type Facts struct {
	Ring          bool // frames are received into a mapped ring
	Filter        Filter
	ArenaLocked   bool // all frame buffers are locked into memory
	ProcessLocked bool // and so is everything else of the process
	IOFlusher     bool // memory reclaim does not wait for our threads
	Guard         bool // foreign frames are dropped before they cost memory
	XDP           bool // frames are received by AF_XDP, copied by the kernel
	Memalloc      bool // the kernel drops AoE that it received into its emergency memory
	ZeroCopy      bool // AF_XDP with a queue of its own
}

// A Tier is what is guaranteed.
type Tier struct {
	Name string `json:"name"` // T0 to T3
	Is   string `json:"is"`
	// Guarantees and Not are sentences.
	Guarantees string `json:"guarantees"`
	Not        string `json:"doesNotGuarantee"`
	// Missing is what the next tier lacks.
	Missing []string `json:"missing,omitempty"`
}

var tiers = [...]Tier{
	{
		Name: "T0", Is: "AF_PACKET, claims and receive stock from the reserve",
		Guarantees: "no request waits for memory of this process",
		Not:        "the kernel allocates for every frame that it sends or receives, reclaim may wait for this process, and its pages may be swapped out",
	},
	{
		Name: "T1", Is: "T0, a mapped receive ring behind a filter that knows the tags, all memory locked, IO_FLUSHER",
		Guarantees: "no request waits for a page of this process, and no foreign frame takes room in its ring",
		Not:        "the kernel allocates for every frame that it sends or receives, and foreign frames in other sockets can take all there is",
	},
	{
		Name: "T2", Is: "T1, and an XDP guard that drops foreign frames before memory is spent on them",
		Guarantees: "while memory is short, foreign frames leave the kernel what it had for ours",
		Not:        "the kernel still allocates for each of our own frames, and loses those for which it cannot: they are sent again until one gets through",
	},
	{
		Name: "T3", Is: "AF_XDP, zero-copy, with a queue of its own",
		Guarantees: "no frame of the disk needs memory of the kernel",
		Not:        "the network itself",
	},
}

// Of is the highest tier whose conditions all hold, and so do those below it.
func Of(f Facts) Tier {
	needs := [...][]string{
		1: missing(
			need{f.Ring, "a mapped receive ring (--link ring or xdp)"},
			need{f.Filter == TagFilter, "a socket filter that knows the tags (CAP_BPF, or root)"},
			need{f.ArenaLocked, "locked frame buffers (--lock)"},
			need{f.ProcessLocked, "a locked process (--swap-safe, CAP_IPC_LOCK)"},
			need{f.IOFlusher, "IO_FLUSHER (--swap-safe, CAP_SYS_RESOURCE)"},
		),
		2: missing(
			need{f.Guard, "the guard (--guard)"},
			need{f.XDP || !f.Memalloc, "AF_XDP (--link xdp): with the kernel's NBD client the kernel drops answers that it received into its emergency memory"},
		),
		3: missing(need{f.ZeroCopy, "AF_XDP with zero-copy, which this program does not have"}),
	}
	reached := 0
	for reached+1 < len(tiers) && len(needs[reached+1]) == 0 {
		reached++
	}
	t := tiers[reached]
	if f.XDP && reached == 2 {
		t.Is += ", and AF_XDP: answers are copied into this process's memory before the kernel allocates any for them"
		t.Not = "the kernel still allocates for each frame that it sends, and to refill the card's receive ring; what it cannot is sent again until it gets through"
	}
	if reached+1 < len(tiers) {
		t.Missing = needs[reached+1]
	}
	return t
}

type need struct {
	met  bool
	what string
}

func missing(all ...need) (what []string) {
	for _, n := range all {
		if !n.met {
			what = append(what, n.what)
		}
	}
	return what
}
