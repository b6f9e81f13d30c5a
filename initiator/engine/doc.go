// Package engine is the protocol of an AoE initiator for one disk, as a state
// machine without goroutine, clock, socket, random source of its own or heap
// allocation: the same code runs in the daemon, in the simulator and in tests.
//
// # Usage
//
// The owner, one goroutine, does in each turn
//
//	for each frame received { e.Receive(now, port, frame) }
//	e.Submit(now, request)                  // any number of times
//	e.Advance(now)                          // timers
//	for r := e.Completed(); r != nil; ...   // hand results out; may Submit again
//	for each port {
//		for n := e.Drain(now, port, out); n > 0; ... // send out[:n]
//	}
//
// and then sleeps until a frame arrives or [Engine.Deadline] passes. now is the
// time since an arbitrary moment, on a clock that never goes back.
//
// # Ownership
//
// A [Request], its frames and their Transmit buffers belong to the engine from
// Submit until Completed returns it. Transmit holds a whole encoded frame; the
// engine overwrites its MACs and its tag each time it is sent, and it is sent
// again from there: a retransmission needs no memory (I12). Frames given out by
// Drain are valid until the next call of another method. Receive borrows its
// frame for the call and keeps nothing of it: when it reports a match, the owner
// may keep the frame, by exchanging its buffer; otherwise the frame is to be
// freed at once (I5).
//
// # Tags
//
// A tag names a slot of a fixed table and a generation of that slot (H4). Every
// transmission takes a generation of its own, so that a reply says which copy
// it answers: replies to any copy are accepted (H5), round trips are measured
// exactly however often a frame was sent, and it is known which copies of a
// write are still unaccounted for (H1). The price is that a target cannot
// recognise a retransmission by its tag; what that would protect from, the
// fence in this package does. Slots are taken in the order in which they were
// freed, so that a tag comes back only after the whole table went around: with
// 4096 slots and 200,000 frames a second, after 3 hours. Generations start at
// random (H22), bit 31 is always clear, as Linux's driver and tools expect of
// kernel and user tags, and slot 0 is never used, so that no tag is zero, which
// on the wire means an announcement.
//
// # Paths
//
// A path is a port of ours and one of the target's. Each has its own round trips,
// order and silence; the window is the target's. Data is sent over a path only
// after the disk that was pinned has identified itself there, in answer to a
// frame as long as the longest (H15), and over the one where it is likely to be
// answered first. A path that is silent for two timeouts, while something that
// was sent later is answered over another, is left out until the disk has
// identified itself again; what was in flight over it goes over the others.
//
// What a path carries less than the longest frames is sent over it in parts, see
// payload.go.
//
// Two targets that have the disk know nothing of each other's requests: only the
// paths to one of them are used. A target that tells which one it is does so in
// IDENTIFY; what follows from it is in instance.go.
//
// # Order
//
// Requests are started in the order of submission as far as the window allows,
// except that one whose range overlaps an earlier unfinished one, when either of
// the two modifies the disk, waits until that is finished (H3). After a write
// whose every copy is not accounted for, later writes to the same sectors wait
// until the missing answers came or no copy can be alive any more (H1).
//
// # Durability
//
// A flush that succeeds has made durable what was acknowledged before it was
// submitted. If the target may have forgotten some of that before it was flushed,
// and is one that tells, the flush fails with [Forgotten]: see unsynced.go.
//
// # Limits
//
// Frames in flight never exceed the target's buffer count, [Config.Window] or
// what congestion allows (I11). Nothing else is bounded here: the owner bounds
// the number of requests.
package engine
