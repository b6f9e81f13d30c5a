// Package harden keeps a process alive while the machine has no memory, so that
// it can serve the disk that the machine swaps to. It knows no frames and no
// network: what it is told of is threads, a heap and pages. docs/RESERVE.md says
// why each step is there.
//
// # Usage
//
// The order is part of the contract:
//
//	p, err := harden.Begin(harden.Config{})    // first of all: may execute the program again
//	err = p.Prepare()                          // before anything is opened
//	cfg.OnThread = p.OnThread                  // called on every I/O thread as it starts
//	...                                        // open the disk, its sockets, rings and buffers
//	err = p.Seal(rehearse)                     // last before the device is made
//	w, err := harden.WatchPressure(...)        // early warning
//	p.Housekeep()                              // from time to time, when all is calm
//	err = p.Close()                            // when the device is gone
//
// Each step has an outcome ([Step]), and when it failed the outcome says what
// that costs and how to mend it. With Config.Strict a failed step is an error
// (of an I/O thread: of the next call, or of Err); without, whoever called goes on
// and prints it.
//
// # What is changed, and what is only looked at
//
// Changed is this process: flags and scheduling of its threads, its score for
// the OOM killer, its collector, its locked pages. All that is gone when it ends.
// Of the machine two settings are changed and put back by [Process.Close]; after a
// crash they stay. vm.watermark_boost_factor becomes 0, and vm.min_free_kbytes, where
// it is less than that, a twenty-fourth of the memory, 4 to 16 MiB.
//
// # Children
//
// The flag of PR_SET_IO_FLUSHER and the OOM score are inherited by children. A
// process that was sealed must not execute anything: it would need memory. So
// there is nothing here to take the flag off children again.
//
// # Concurrency
//
// Begin, Prepare and Seal are called once each, in that order, by one goroutine.
// OnThread, Steps and Housekeep may be called by any.
package harden
