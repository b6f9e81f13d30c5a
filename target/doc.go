// Package target serves disks over ATA over Ethernet: any number of disks on
// any number of links in one process.
//
// # Usage
//
//	s, err := target.New(target.Config{})
//	err = s.AddDisk(target.Disk{Addr: frame.Addr{Shelf: 1, Slot: 1}, Store: st})
//	err = s.AddLink(l)
//	err = s.Serve(ctx) // until ctx is done
//
// Disks and links may be added at any time, before and while the server serves,
// and removed. Every disk is served on every link, with one state: the
// order of requests, duplicates, and what was set over the wire are the disk's
// and not the link's.
//
// # What a write that was answered is worth
//
// In [ModeSync], the default, the data is on stable storage before the answer
// is sent; writes that arrive meanwhile share the next sync. In [ModeFlush] it is
// there after the next FLUSH, and IDENTIFY says that there is a write cache. What
// was lost before that is told by the verifier in answers (docs/DURABILITY.md).
// [ModeDirect] is ModeSync on a store that goes past the page cache. FLUSH is a
// real sync in all of them. When a sync has failed, nobody knows which writes
// were lost: from then on every write and flush of the disk fails, until the disk
// is removed and added anew, and Stats and the log say why (H17). Reads go on.
// A store that fails, fills up or shrinks makes ATA errors and nothing else (H18).
//
// # Order
//
// Requests to the same sectors are carried out in the order in which they
// arrived, if one of them writes; others at once (H3). A copy of a request that
// is still in the works is dropped: the answer is under way (H2). A copy of a
// write that was answered within the last seconds, or failed, is answered alike
// and not carried out, also when its initiator has started anew meanwhile (H1).
// A server that starts anew remembers none; then the initiator's fence, which
// keeps back what overlaps a write that was sent twice, is the only guard.
//
// # Memory
//
// All buffers are reserved when a disk or link is added, as a sum:
//
//	buffers = per link: Batch being filled + spare copies for wildcard requests
//	        + per disk: 2 x BufferCount queued, in hand or waiting for a sync
//
// An answer is built in its request's own buffer, and a request that has to wait
// takes its buffer along and leaves the link an empty one, so the number never
// changes. BufferCount is what a disk advertises, half of what it reserves. One
// initiator may hold as much as is advertised; several share what is reserved
// equally (H23). What finds no room is dropped and counted (H7). Serving a
// request allocates nothing.
//
// # Goroutines
//
//   - one per link receives, checks, answers what the store can answer without
//     waiting, and queues the rest;
//   - a fixed number per disk carries out what has to wait: several read, one or
//     several write, one syncs. A disk that hangs keeps no other waiting;
//   - one watches sizes and failures, and writes the log: the data path counts
//     and never logs.
//
// # Access
//
// The MAC mask, the reserve list and the config string can be read over the wire
// by anyone whom the mask does not hide the disk from, and edited by whom
// [WireEdits] lets: by default those on the mask, and so nobody while it is
// empty. The server's owner edits with [Server.EditMask] and its like. None of
// this is authentication: a MAC address is not a secret. Settings are kept in
// memory and gone after a restart, unless [Config] names a [Keeper].
package target
