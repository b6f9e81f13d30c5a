// Package hold keeps a disk attached: it is the life of the process behind `aoe
// attach`, and of the attached disk in the lab.
//
// # Usage
//
//	h, err := hold.Attach(ctx, hold.Config{Disk: initiator.Config{Link: l, Addr: addr}, Dir: rundir.Default()})
//	fmt.Println(h.Device())
//	err = h.Run(ctx, signals)      // until it is detached
//
// Attach claims the address in the run directory, opens the disk, makes the
// device and begins to answer status and detach requests of other processes.
//
// # Ownership and concurrency
//
// Attach takes the link, also when it fails. All methods may be called by any
// number of goroutines. Detach undoes everything in reverse order and can be
// refused; then nothing has changed.
//
// # Goroutines
//
// One watches the disk's condition and size, and one, with NBD, accepts clients;
// both end with Detach. Neither is on the data path.
package hold
