// Package model is a small machine whose only way to clean a page is a disk on
// the network, and every policy that has been proposed since 2005 to keep it
// from dying of it, as variations of one pure step function. An exhaustive
// search over it finds which of them can deadlock, and the shortest way there.
//
// # Usage
//
//	w := model.World{Pages: 4, Policy: policy}
//	v := w.Search()                  // every state; v.Dead of them are dead
//	v.Story(os.Stdout)               // the shortest way to die, in words
//	for _, t := range w.Next(s) {}   // what can happen in a state
//
// A [Policy] is data, but for its [Store], which keeps the frames that are set
// aside for receiving. [Lineage] are those of the literature, [Golden] the table
// that the design was built on.
//
// # What a state is, and what dead means
//
// Pages are free, dirty, being written, or hold a frame. Everything that may
// happen is one step: a page is dirtied, a write sent, a reply or a foreign
// frame arrives and finds memory or is lost, a frame is classified, a socket is
// read. A state is dead when something waits to be written and no sequence of
// steps at all leads to a completed write. That is the weakest kind of
// liveness: a policy with no dead state can still be unlucky for long, but a
// policy with one has a trap.
//
// # Limits
//
// A model proves the algorithm and not Linux. It has one disk, a frame for each
// page, and counts instead of addresses. Everything here is free of goroutines,
// clocks, randomness and package state; values may be used by many goroutines.
package model
