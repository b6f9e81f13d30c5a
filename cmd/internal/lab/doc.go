// Package lab runs the whole path in one process, on networks of its own: a
// target and an attached disk on two hosts, which are anonymous network
// namespaces joined by a cable, so that no interface of the machine is touched.
//
// # Usage
//
// [New] makes a [Lab]: the cable, an image, a target that serves it. Attach and
// Detach attach the disk under given [Conditions]; Close removes everything,
// newest first, also after a failure.
//
// [Newcomer] is the run of `aoe lab` without a command: a list of steps, each a
// value with a name, that share one Lab and fill a [Report]. [Captive] runs a
// command of the user's against an attached disk.
//
// # What it proves
//
// Files are compared by digest, blocks with a model of the disk that knows what
// was acknowledged ([CheckModel]). Losses, the flood and what is written come
// from one seed. A run fails when a check fails, and also when the trouble that
// it was to survive did not happen: no frame lost, no allocation refused.
//
// # When it is killed
//
// A Lab's directory is locked by its process, says who that is, and is the mark in
// the environment of every process that the lab starts: by that [Clean] finds, and
// New in the same place, what a lab left that was killed, and does not touch one
// that lives.
//
// # Concurrency
//
// A Lab belongs to one goroutine.
package lab
