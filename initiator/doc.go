// Package initiator uses a disk that an AoE target serves.
//
//	d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: frame.Addr{Shelf: 1, Slot: 1}})
//	n, err := d.ReadAt(p, off)
//	n, err = d.WriteAt(p, off)
//	err = d.Flush(ctx)
//	err = d.Close()
//
// [Discover] finds disks; [Ping], [QueryConfig], [Identify], [CheckPower],
// [MaskList], [ReserveList] and [IssueATA] send single commands.
//
// # Two interfaces
//
// ReadAt, WriteAt and their like copy between the caller's memory and frames,
// and wait. Beneath is the asynchronous interface that front ends use:
//
//	r, err := d.Admit(ctx, initiator.Op{Kind: initiator.Write, Offset: off, Length: n})
//	for _, s := range r.Segments() { ... }   // write: fill, before Submit
//	r.Submit(func(r *initiator.Request) {    // runs on the disk's loop: must not block
//		if r.Err() == nil { ... }        // read: r.Segments() hold the data
//		r.Release()
//	})
//
// Admit reserves everything that the request will need until it is finished: one
// buffer for each frame to send, kept until it is answered, and one to exchange
// for the frame that answers it. Behind Admit nothing is waited for but the
// network, and nothing is allocated, also not to send again or to fail.
//
// # Ownership and concurrency
//
// All methods of a Disk may be called by any number of goroutines. A [Request]
// belongs to one goroutine at a time: the caller's from Admit to Submit, the
// disk's from Submit until done is called, then the caller's until Release.
// What Segments returns is part of the frames themselves and is valid until
// Release. Memory of the caller is touched only by the goroutine that called,
// and never after it returned: a read that was abandoned because its context
// ended leaves the slice alone from then on. An abandoned write may still be
// executed.
//
// The disk's loop, one goroutine, owns the protocol state (package engine), the
// receive ring's stock, the timers, and the link from Open until Close. It never
// blocks, logs, allocates, or touches memory that it does not own, because that
// may be swapped out to the very disk it serves. The link is the caller's to
// close, after the disk.
//
// Who serves requests that come over a descriptor can do that on the loop, see
// [Companion]: it must keep to the same.
//
// # Paths
//
// With [Config.Others] a disk is reached over several ports, and over every port
// of the target behind each. The loop receives from the first port, a goroutine
// from each other. See package engine for which path is used when, and
// [Stats.Paths] for how they are.
//
// # Waiting, and why it cannot deadlock
//
// Who holds an admitted request can finish it without another (I3). Who waits
// in Admit must not hold one that only he would finish or release. The methods
// that take more than [Config.MaxRequest] bytes keep to that: they wait in Admit
// only while they hold nothing. Further parts of the same call are admitted only
// if that is possible at once; if not, the oldest part is waited for, copied and
// released first. Parts that are submitted finish by themselves, so each call
// makes progress whenever anybody's does.
//
// # Order and durability
//
// Requests whose ranges overlap are executed in the order of their submission if
// one of them modifies the disk (H3); others in any order. An acknowledged write
// is as durable as the target promises; [Disk.Flush] makes everything durable
// that was acknowledged before it was called, or returns [ErrForgotten] if the
// target has lost some of it first, and is one that tells.
//
// # Errors
//
// What the target said is a [*TargetError] or [*ATAError]. What we found is
// [ErrDown], [ErrForgotten], [ErrUnanswered], [ErrRange], [ErrUnaligned], [ErrTooLong],
// errors.ErrUnsupported, net.ErrClosed or an error of the context. Silence is
// not an error until [Config.DeadTime] has passed: frames are sent again.
package initiator
