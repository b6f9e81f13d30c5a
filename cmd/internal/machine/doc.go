// Package machine is a small machine whose memory is full of pages that belong on
// a disk on the network, simulated on a virtual clock: the pages, the network, the
// flood and the kernel's share of memory are simulated, the protocol engine and the
// memory reserve are the real ones.
//
// One seed is one run, bit for bit: pages, requests, reserve, losses, delays, flood
// and faults of ordinary allocation are all drawn from it. A run has a safety phase
// with faults, and then a liveness phase in which the network loses nothing and
// nothing new becomes dirty, but the flood goes on. If the machine has not written
// everything in bounded time it counts as dead; if the disk does not hold what was
// acknowledged, as wrong.
//
// With several disks, the target of the first may be late, silent for a while, or
// silent for ever. Then it need not be written, and the others must.
//
// Everything belongs to one goroutine.
package machine
