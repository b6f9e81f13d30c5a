// Package ring is a link.Link on Linux's AF_PACKET: frames are received through
// a ring of slots that the kernel and this process share, and sent in batches.
//
// # Receiving
//
// The ring is TPACKET_V2 (packet(7), PACKET_RX_RING), the version that gives
// frames back one by one: the kernel copies each frame into the next slot and
// frees its own memory for it at once, so a frame that waits here holds nothing
// but its slot. The ring is made of kernel pages that cannot be swapped out and
// that nobody else can take: it is the kernel's share of the fixed reserve.
// When all slots are full, frames are dropped and counted.
//
// A filter runs before a frame is copied into a slot. It is attached before the
// socket is bound, so that not one foreign frame gets in. Config.Filter
// replaces the default, which passes every frame with AoE's EtherType that is for
// this host.
//
// # Sending
//
// Sending has a socket of its own, which receives nothing. The kernel allocates
// memory for every frame sent; when it cannot, the frame is lost and counted.
//
// # Changes
//
// The port follows its interface by name: it survives the interface going down,
// changing its MTU or MAC, and being deleted and made again. When the MTU
// grows beyond the slots, the ring is made anew with larger ones; frames that
// were in the old one are lost.
//
// # Waiting
//
// Recv first looks into the ring, which takes no system call, and only when it
// is empty waits in ppoll(2), whose timeout is in nanoseconds.
package ring
