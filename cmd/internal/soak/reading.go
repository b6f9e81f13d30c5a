package main

import "encoding/binary"

// A reading is what a process says of itself at a moment. Counters count since
// it started. Its size is fixed and it holds no pointer, so that taking one
// and sending it costs the process that is measured no allocation.
type reading struct {
	Requests, Errors, Wrong uint64 // the load's; 0 in the target
	Retransmitted, ToCrunch uint64

	Allocations, AllocatedBytes uint64 // on the Go heap
	Collections                 uint64
	MinorFaults, MajorFaults    uint64
	RSS                         uint64 // bytes
	Goroutines, Threads         uint64
}

// readingBytes is a reading's size on the pipe.
var readingBytes = binary.Size(reading{})
