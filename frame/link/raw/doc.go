// Package raw is a link.Link on github.com/mdlayher/raw: one frame per system
// call, on every platform that library supports. On Linux it is what package
// ring is compared with; elsewhere it is the link there is.
//
// # What the library leaves to be desired
//
// Its author has deprecated it in favour of mdlayher/packet, which is for Linux
// alone and which it calls on Linux. It is used as it is, within these limits:
//
//   - It allocates: on Linux 5 times for every frame received (the address that
//     recvfrom(2) gives, twice, and closures) and 5 times for every frame sent.
//     So raw is no link for a machine that has run out of memory (I10).
//   - The socket's receive buffer keeps the system's default size
//     (net.core.rmem_default), about ten frames of 9000 bytes at their true cost
//     (H7): the library gives no access to it. Frames that find no room are counted
//     in Stats.KernelDropped.
//   - A send that finds the socket's buffer full waits, instead of failing: a
//     deadline of a millisecond bounds the wait.
//   - On BSD and macOS it knows no deadlines, so a goroutine receives there and
//     hands over; it has no counters, so Stats.KernelDropped stays zero; and when
//     the system delivers several frames in one read it loses all but the first.
//
// # Changes
//
// The interface is looked at once in a while (see lookEvery), by the goroutine in
// Recv. When it has been deleted and made again the link is opened anew; on Linux
// this takes place in the network namespace of the thread that runs Recv.
package raw
