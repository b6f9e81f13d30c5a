// Package linktest is an Ethernet segment in memory for tests, a wrapper that
// impairs a real one, and the conformance suite for implementations of
// [link.Link].
//
// # The switch
//
//	sw := linktest.NewSwitch(linktest.Config{Seed: seed, Faults: linktest.Faults{Loss: 0.1}})
//	a, b := sw.Port(macA), sw.Port(macB)
//
// A [Switch] delivers AoE frames by destination MAC, and to all ports what is
// addressed to a group. It loses, duplicates, delays and reorders as its [Faults] say, all
// random choices coming from one seeded generator; it can be cut in one
// direction or both, and every port can be set down, clogged or given another
// MTU. A test can decide the fate of single frames with [Switch.SetScript].
//
// It runs in one of two ways:
//
//   - With time passing by itself, for goroutines, also inside a
//     testing/synctest bubble. The switch has no goroutine of its own.
//   - With Config.Manual, for a simulation on a single goroutine: time is
//     what [Switch.Step] says it is, and Recv never waits. Then a run is a function
//     of the seed.
//
// # Impairment
//
// [Impair] does to the frames of any Link, in both directions, what the switch
// does to its own.
//
// # Conformance
//
// [Conform] runs on every Link, real or in memory. A new implementation starts
// with it.
//
// # Ownership and concurrency
//
// What package link says holds for ports and impaired links. The methods of a
// Switch may be called by any number of goroutines. In steady state neither
// allocates: buffers for frames in flight are made when first needed, up to a
// bound, and kept.
package linktest
