// Command speed measures how fast this is next to what there is, and prints
// tables of rates, ratios and processor time in Markdown:
//
//	go run ./cmd/internal/speed [-table path] [-rounds 5] [-time 800ms] [-only "depth 1"]
//
// Everything runs on hosts of its own (network namespaces joined by veth pairs
// with MTU 9000), as root, in rounds: in each round every contestant runs every
// workload once, one after the other, so that a machine whose speed drifts slows
// all of them alike. Compare ratios, not numbers from different runs. Clients run
// on the first processor, targets on the others; but where a third process is
// between the two the scheduler decides, unless -pin says otherwise.
//
// The tables, of which -table names one, several with commas in between, or all:
//
//   - path: both sides of it, each with ours and with somebody else's at the other
//     end, files on tmpfs
//   - target: our target in flush mode and vblade, files on tmpfs
//   - durable: our target in its modes, and vblade that writes synchronously, on
//     ext4 on a disk
//   - poll: our client on our target, with and without looking for frames before
//     they sleep
//   - initiator: our client as a library on our target, and nothing in between
//   - nbd: fio on a disk of ours through a socket, and on nbdkit over TCP
//   - fuse: a block device of an attached disk, and of memory
//   - sequential: requests of 128 KiB
//   - profile: where the time of a request through a socket goes
//
// The contestants:
//
//   - echo: answers of the same size to frames of the same size, with nothing
//     in between, by a process at the other end; the limit of the link
//   - bare: a target that receives a batch, makes a call for each request and sends
//     a batch of answers, and nothing else; what a target on that link can hope for
//   - plain: a window of requests without reserve, retransmission or order, as a
//     small C program would do it, against Debian's vblade and against `aoe serve`
//   - aoe: `aoe bench` against the same
//   - library: what `aoe bench` does, in this process
//   - fio: fio, on NBD or on a block device
//
// The echo, the library and aoe look for frames for a while before they sleep
// (--poll); the others sleep at once.
//
// What a table needs beyond Go is Debian's vblade, fio, nbdkit, iproute2,
// e2fsprogs and mount; see docs/SPEED.md.
//
// With -loss it measures, instead, what our client keeps of its speed on a cable
// that loses 1 % and 5 % of all frames, half of them in each direction.
//
// It is no test: it judges nothing and fails only if something does not run.
// Whatever ends it, nothing stays mounted or attached: mounts are in a namespace
// of its own.
package main
