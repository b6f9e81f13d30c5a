// Package xdp is a link.Link on Linux's AF_XDP: an XDP program steers frames into
// sockets, and the kernel copies them into memory of this process before it has
// allocated anything for them.
//
// # Why
//
// A packet socket gets a frame late: the kernel has given it a socket buffer, and
// where any socket on the host is a memalloc one (the kernel's NBD client, iSCSI,
// swap over NFS), frames whose buffer came out of the emergency reserve are dropped
// before packet sockets see them, unless they are ARP, IP, IPv6 or VLAN. AoE is none
// of these. XDP runs before that, and in the driver before there is a socket
// buffer at all.
//
// # Receiving
//
// Memory is registered once (UMEM): chunks of 2 or 4 KiB, pinned by the kernel,
// so that they are never swapped out. The fill ring says which are free, the
// receive ring which have been filled, and a chunk goes back as soon as its frame
// has been copied out: it is a fixed reserve in the literal sense. When no chunk is
// free, frames are dropped and counted. There is a socket with memory of its own for
// each queue of the card, because an XDP program can steer a frame only to the
// queue that it came in by.
//
// The kernel copies (XDP_COPY): zero-copy would give a card's whole queue, foreign
// frames included, to this process.
//
// A frame longer than a chunk takes several, which Linux 6.6 and later can do
// (XDP_USE_SG). Before that, frames have to fit one: State then tells an MTU of at
// most 3826, and less where the interface's was small when the link was opened,
// though longer frames can be sent.
//
// # Programs
//
// An interface has one XDP program. By default the link brings its own, which steers
// AoE that is for this host and passes everything else up the stack: other programs
// on the host that speak AoE receive nothing meanwhile. With Config.Steer another's
// program does it, that of initiator/guard, which steers the answers to one disk's
// requests only. A queue has one such socket: a second link on an interface is an
// error that wraps [ErrInUse].
//
// # Sending
//
// Sending goes through a packet socket, as that of package ring. The transmit ring
// of AF_XDP does not do without the kernel's memory either: unless it is
// zero-copy, each frame is given a socket buffer. Some drivers, virtio_net among
// them, would save the pages behind it.
//
// # Changes
//
// As that of package ring the port survives everything that can happen to its
// interface. To one that was made anew it opens new sockets, which takes
// CAP_SYS_ADMIN if the calling thread is in another network namespace. When the MTU
// grows, the memory stays, and holds fewer frames.
//
// XDP sees frames when the card has taken a VLAN tag off: a VLAN's frames look like
// untagged ones. `ethtool -K eth0 rxvlan off` leaves the tags in.
package xdp
