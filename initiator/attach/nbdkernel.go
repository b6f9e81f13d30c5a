package attach

import (
	"context"
	"errors"
	"time"
)

// NBDKernelConfig is what a block device of the kernel's NBD client is made of.
type NBDKernelConfig struct {
	// Disk is what the device shows. It stays the caller's: close it after the
	// device.
	Disk Disk
	// ReadOnly makes a read-only device even if the disk could be written.
	ReadOnly bool
	// InFlight is how many requests are in hand at once; more wait in the
	// socket. Zero means as many as the disk admits ([Info.Depth]).
	InFlight int
	// TakeOver takes over the device that a process which died left, if there
	// is one for this disk; see UBLKConfig.
	TakeOver bool
	// OnThread, if not nil, is called on each thread that does I/O for the
	// device, before it does any. There are two, and a third if the disk has a
	// write cache; they live as long as the connection. Where the disk's loop, which
	// the disk's own hook is for, does their work, they do what has to wait.
	OnThread func()
}

// Times of the kernel's client.
const (
	// nbdKernelLooks is how often it looks whether a request that is not answered
	// went over a connection that is no more; then it sends it again over the one
	// that there is now (Linux 5.7). It has no timeout besides: with one it gives up a
	// connection whose disk takes longer, and takes the answer to what it sends twice
	// for a fault. For each request that it looks at it prints a line.
	nbdKernelLooks = 10 * time.Second
	// nbdKernelReconnect is how long it waits for a process that takes the
	// device over before it fails everything.
	nbdKernelReconnect = 300 * time.Second
)

// What a request takes up in the kernel's end of the pair: a buffer for each page,
// for which the kernel allocates two, and one for the header. A socket counts
// what is allocated.
const (
	nbdPage       = 4096
	nbdPageBuffer = 2*nbdPage + 256
	nbdHeadBuffer = 1024
)

// socketRoom is how many bytes the kernel's end of the pair must take, so that what
// it has in flight never waits for room.
//
// Linux before 6.13 ("nbd: fix partial sending") does not bear it when it does: if
// the task that sends a request has a signal pending when the room ends in the
// middle of it, the rest is sent later, but the request may have got another tag
// meanwhile. The answer to the first one is then taken for a double one, the
// connection is given up, and everything in flight waits for a new one.
func (cfg *NBDKernelConfig) socketRoom(maxRequest int) int {
	return cfg.InFlight * ((maxRequest+nbdPage-1)/nbdPage*nbdPageBuffer + nbdHeadBuffer)
}

func (cfg *NBDKernelConfig) validate() (Info, error) {
	info, err := deviceInfo(cfg.Disk, cfg.ReadOnly)
	if err != nil {
		return Info{}, err
	}
	if cfg.InFlight <= 0 {
		cfg.InFlight = info.Depth
	}
	return info, nil
}

// A NBDKernelDevice is a block device of the kernel's NBD client that shows a
// disk. When this process dies, the device stays for 300 s: requests wait in
// the kernel until another process takes it over.
type NBDKernelDevice struct {
	// Path of the device, "/dev/nbd0".
	Path string
	// TakenOver tells that it was there before.
	TakenOver bool
	impl      *nbdKernelDevice
}

// NBDKernel attaches a disk as a block device of the kernel's NBD client, which
// it connects to this process with a pair of sockets. It needs CAP_SYS_ADMIN.
// ctx is for attaching, not for the life of the device.
func NBDKernel(ctx context.Context, cfg NBDKernelConfig) (*NBDKernelDevice, error) {
	info, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	return attachNBDKernel(ctx, cfg, info)
}

// Close detaches the device and returns when nothing is left of it. While the
// device is in use it does nothing and returns an *InUseError. If ctx ends,
// Close may be called again, and goes on from there.
func (d *NBDKernelDevice) Close(ctx context.Context) error { return d.impl.close(ctx) }

// Abandon ends the device whether it is in use or not: who uses it gets I/O
// errors, and data that was not yet written is lost.
func (d *NBDKernelDevice) Abandon(ctx context.Context) error { return d.impl.abandon(ctx) }

// Done is closed when the device has ended, by Close or in any other way.
func (d *NBDKernelDevice) Done() <-chan struct{} { return d.impl.done }

// Resize makes the device as large as the disk is now. It must not be called
// while the target is silent: the kernel waits for all requests first. It
// refuses to make the device smaller (H16).
func (d *NBDKernelDevice) Resize() error { return d.impl.resize() }

// Stats are the counters of the device.
func (d *NBDKernelDevice) Stats() NBDStats { return d.impl.counters.snapshot() }

// nbdBackend names a disk in the kernel's record of a device: by it the next
// process finds the device, and the kernel refuses every other (H15).
func nbdBackend(info Info) string { return "aoe " + info.Name + " " + info.Serial }

// nbdKernelFlags are the transmission flags that the kernel is told.
func nbdKernelFlags(info Info) uint16 {
	flags := nbdFlagsOf(info) &^ (nbdSendFastZero)
	if !info.WriteCache {
		// What is acknowledged is durable: nothing to be flushed.
		flags &^= nbdSendFlush | nbdSendFUA
	}
	return flags
}

var errNBDKernelGone = errors.New("attach: the kernel gave the device up")
