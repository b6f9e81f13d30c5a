// Package attach turns a disk into something that a machine can mount or a
// program can open. It has front ends, which all stand on one asynchronous
// interface, [Disk]:
//
//   - NBD: [ListenNBD] serves the disk on a unix socket, for qemu, fio, nbdcopy
//     and everything else that speaks the Network Block Device protocol. Works
//     everywhere, needs no privilege.
//   - FUSE and a loop device: [FUSE] makes a block device, /dev/loopN, on any
//     Linux that has FUSE. Needs root.
//   - ublk: [UBLK] makes a block device, /dev/ublkbN, on Linux 6.5 or later with
//     the driver ublk_drv. Needs root. Best for everything, swap too.
//   - The kernel's NBD client: [NBDKernel] makes a block device, /dev/nbdN,
//     where the driver nbd is. Needs root.
//
// [Ways] says which of them this machine can do, and what is missing for the
// others.
//
// # The path of a request
//
// A front end asks the disk to admit an operation, which reserves everything
// that is needed to finish it, or waits. It then puts the data where the disk
// says, in the payload of the frames that will be sent ([Request.Segments]),
// submits, and when the disk calls back, hands the data out from where it was
// received and releases. NBD moves data between the socket and those places
// with readv and writev: no copy in between, and no allocation. FUSE hands
// reads out the same way, and copies writes once, because a read of /dev/fuse
// says only afterwards how long the request was; go-fuse beneath it allocates
// about ten small objects for each request, which is one of the reasons not to
// swap on such a device.
//
// With ublk the data is copied once, between the kernel's pages and the frames,
// by a preadv or pwritev that says which request it is about; the requests
// themselves come and go through a ring shared with the kernel. Its thread never
// waits for the disk. With the kernel's NBD client the data goes through a pair
// of sockets, where the kernel copies it twice and takes memory for it.
//
// # When this process dies
//
// The users of NBD sockets see the end of the connection, those of FUSE get I/O
// errors. ublk's and NBD's devices in the kernel stay, and requests wait in them:
// [UBLKConfig.TakeOver] and [NBDKernelConfig.TakeOver] serve them again. What had
// been acknowledged is at the target; what had not is sent again by the kernel,
// from the pages that it still has: at once by ublk, unless everything that fits
// its queue was under way (then 5 s later), by NBD, which looks every 10 s whether
// the connection that a request went over is still there (Linux 5.7 or newer). NBD
// waits 300 s for a process, and fails everything then; ublk waits for ever.
//
// Tags of the process before cannot be taken for one's own: the engine begins
// each slot's generations at random, and by the time a device is taken over no
// frame that was sent before is alive. An answer that a slow disk gives later
// than that is dropped, but for one in eight million, which would have to name
// one of 256 live tags by chance.
//
// # Ownership and concurrency
//
// A Disk is used by any number of front ends at once. A Request belongs to one
// front end from Admit to Release, except between Submit and the callback, when
// it belongs to the disk. The callback runs on the disk's own goroutine: it
// must not block, and front ends only hand the request over to a goroutine of
// theirs in it.
//
// # Waiting, and why it cannot deadlock
//
// Admission is the one place where a front end waits for the disk's memory, and
// none waits there while it holds something that only its own progress would
// give back: a request that is longer than [Info.MaxRequest] is done in parts,
// and each part is released before or independently of the next one's
// admission. A goroutine that waits for admission does not take part in
// answering: replies are written by another.
//
// What a peer can hold is bounded: by the number of requests in flight on each
// of its connections, and by time, because a peer that neither sends the data
// it promised nor takes the data it asked for is disconnected
// ([NBDConfig.StallTimeout]).
//
// # Durability
//
// Acknowledged writes are at the target, and as durable as the disk promises
// ([Info.WriteCache]). A flush on one connection or file descriptor covers the
// writes acknowledged on all others, so NBD clients are told that they may use
// several connections. One that comes after the target has lost its write cache
// is an I/O error ([aoe/initiator.ErrForgotten]), once.
package attach
