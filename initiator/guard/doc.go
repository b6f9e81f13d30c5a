// Package guard lets the kernel do what the engine would do with a frame, before
// memory is spent on it: pass what is outstanding, drop the rest. Linux only;
// elsewhere everything fails with errors.ErrUnsupported, and a disk works without.
//
// # Two places
//
// A [Table] is the outstanding tags of one disk in memory that is shared with
// the kernel, and a socket filter that looks into it: of all frames with AoE's
// EtherType only answers to what is outstanding, and announcements of the disk,
// get into the receive ring. It protects the ring, not the machine: the frame was
// allocated before a socket filter sees it, and foreign frames go elsewhere.
//
// A [Guard] is an XDP program on the interface. As long as memory is fine it
// passes everything. In crunch it drops all but answers to what is outstanding
// at one of its tables' disks, their announcements, and what an allow list
// names. In driver mode that costs no memory: the page goes straight back to the
// card's receive ring.
//
// # Usage
//
//	t, err := guard.NewTable(addr, engine.DefaultSlots)
//	l, err := ring.Open(ring.Config{Interface: "eth0", FilterFD: t.FilterFD()})
//	g, err := guard.Open(guard.Config{Interface: "eth0", Allow: rules})
//	p, err := g.Add(t)
//	d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: addr, Tags: t, Pulse: p})
//	...
//	d.Close(); g.Close(); l.Close(); t.Close()
//
// Without the right to load programs NewTable and Open return errors that wrap
// fs.ErrPermission and say what is missing; the link's own classic filter,
// which knows AoE but no tags, then stays. [Tier] says what there is.
//
// # Crunch, failing safe
//
// A guard does not ask whether memory is short, it asks whether it was told
// within the last moment ([Config.Stale]) that it is not. The one who tells is
// the disk's loop, at the end of a turn, after it has received and sent: the
// very thing that must not stop. Sending allocates in the kernel, so a loop that
// is caught in the shortage, or whose process was killed or stopped or never
// gets its processor, stops telling, and the flood stops costing memory by
// itself. A thread of its own that only told the time would go on telling while
// the loop hangs; and one that looked at the system's memory files would need
// memory for that. The loop also tells when it knows better: when the disk's
// reserve is in crunch, or the system's free memory is below a mark.
//
// A guard whose disks have not begun passes everything: there is nothing to
// protect yet.
//
// # Ownership and concurrency
//
// SetPaths, SetTags and Beat are the disk's loop's: plain atomic stores into the
// shared memory, no system call (but sysinfo(2), at most every few milliseconds,
// in Beat) and no allocation. All other methods may be called by any number of
// goroutines. Close is the last call, after the disk is closed.
//
// # Never left behind
//
// The filter belongs to the socket and the XDP program is attached by a link
// that belongs to a descriptor of this process: both are gone when the process
// is, however it ends. Nothing is pinned.
//
// # Several disks
//
// There is one XDP program on an interface. A second process that opens a guard
// there shares it: its disks are added to the same list, under the allow list of
// the first, and foreign frames pass only while every loop of every process beats.
// [Guard.Tend], called about each second, clears away what a process that died has
// left there, and takes the attachment over when its holder has ended: for that
// long nothing is guarded, or too much. The answers to other programs that speak
// AoE are foreign frames; the rule "aoe" of the allow list passes them.
package guard
