// Command fair measures how a target divides itself among initiators that all
// want as much as they can get of all its disks, and prints what each got as part
// of its fair share, that is of an equal one:
//
//	go run ./cmd/internal/fair [-initiators 8] [-disks 16] [-each 4] [-rw randread] [-dir /var/tmp]
//
// The target and the initiators are hosts of their own (network namespaces on a
// bridge), in one process, as root. Disks in memory are served by the goroutine
// that receives; with -dir they are files, whose requests wait for the device and
// hold buffers, which are what is divided (H23).
//
// The slowest is to get at least half of its fair share. It is no test: a machine
// that is busy otherwise is unfair by itself. It fails only if something does not
// run.
package main
