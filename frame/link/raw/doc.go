// Package raw is a link.Link on github.com/mdlayher/raw: one frame per system
// call, on every platform that library supports. On Linux it is what package
// ring is compared with; elsewhere it is the link there is.
//
// # How it receives
//
// A goroutine of the link's reads frames into a fixed number of slots, and Recv
// takes them from there. Deadlines, which would do without it, cannot ask for
// what is there now, and the library has none on BSD and macOS. The slots also
// make up for a socket buffer that cannot be enlarged.
//
// # What the library leaves to be desired
//
// Its author has deprecated it in favour of mdlayher/packet, which is for Linux
// alone and which it calls on Linux. It is used as it is, within these limits:
//
//   - It allocates for every frame received and sent (see the bounds in the
//     test), so raw is no link for a machine that has run out of memory (I10).
//   - The socket's receive buffer keeps the system's default size
//     (net.core.rmem_default), about ten frames of 9000 bytes at their true cost
//     (H7). Frames that find no room are counted in Stats.KernelDropped, on Linux.
//   - A send that finds the socket's buffer full waits, instead of failing: a
//     deadline of 10 ms bounds the wait.
//   - Timeouts are the Go runtime's, which rounds short ones up to a millisecond.
//   - On BSD and macOS it loses all but the first of several frames that the
//     system delivers in one read, and Close takes up to 200 ms.
//
// # Changes
//
// Recv looks for changes of the interface four times a second. When it has been
// deleted and made again the link is opened anew; on Linux that takes place in the
// network namespace of the thread that runs Recv.
package raw
