// Package port is what the links of Linux that receive into shared memory have
// in common: waiting for frames, for Wake, for changes of the interface and for
// a deadline; following the interface; sending through a packet socket; and
// counting. What differs is a [Receiver].
//
// # Ownership and concurrency
//
// A [Link] has the methods of link.Link and keeps what that interface promises.
// The Receiver belongs to Recv, but for Drops, which Stats calls; the Link sees
// to it that Drops, Follow after a replacement, and Close exclude each other.
package port
