// Package diskcopy copies disks and images onto each other: AoE disks, files,
// block devices, and whatever else package store opens.
//
//	src, err := diskcopy.OpenSource("disk.img")
//	dst := diskcopy.Disk(d)
//	r, err := diskcopy.Run(ctx, diskcopy.Config{Source: src, Destination: dst, State: "copy.state"})
//
// # Going on after an interruption
//
// Chunks are copied several at a time. Everything before the frontier, the first
// chunk that is not written, has arrived; now and then the destination is
// flushed, and then the frontier as it was before that is put into the state
// file. A Run that finds a state file of the same two ends goes on there, so
// that what was interrupted, by a signal, a crash of this process or an error,
// costs what was done since. A source that is written to meanwhile is copied as
// some mixture of before and after.
//
// # Zeros
//
// Runs of zeros are not sent where the destination reads as zeros anyhow (a new
// file), trimmed where it promises zeros for that, and written elsewhere.
//
// # Ownership
//
// Run borrows both ends and returns when nothing uses them any more. They are the
// caller's to close.
package diskcopy
