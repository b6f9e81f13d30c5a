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
// The port follows its interface: it survives the interface going down, changing
// its MTU or MAC, being renamed, and being deleted and made again with the same
// name. When the MTU grows beyond the slots, the ring is made anew with larger
// ones, on the same socket; frames that were in the old one are lost. If there is
// no memory for that the old ring stays, and frames too long for it are
// counted in Stats.Truncated: Config.MinMTU makes room ahead.
//
// # Waiting
//
// Recv first looks into the ring, which takes no system call, and only when it
// is empty waits in epoll_wait(2), with a timerfd(2) for its end (in practice 50 us
// and a wake-up late). Wake is a system call only while Recv sleeps. With
// Config.Poll a Recv goes on looking for a while before it waits, as long as that is
// of use: two hosts that both do so exchange a request and its answer in a sixth of
// the time, because no thread has to be woken (docs/SPEED.md).
//
// # Measured
//
//	go test -run '^$' -bench . -benchtime 2s ./frame/link/ring
//
// prints echoes (60 bytes there, 4 KiB and headers back) and one-way receiving
// over a veth with MTU 9000, both ends in one process, on the 2 cores of a virtual
// machine (Linux 6.18, AMD EPYC) that had other work to do. So the CPU time of
// both ends together, kernel included, is what compares (medians of ten runs);
// the rates are the best seen.
//
//	             echo, depth 1     echo, depth 32    receive one way
//	ring         25 us   52 k/s    8.9 us  207 k/s   10.5 us  130 k/s
//	recvmmsg     31 us   33 k/s   10.2 us  151 k/s    8.1 us  219 k/s
//	raw          32 us   33 k/s   17.4 us   95 k/s     20 us  162 k/s
//
// A raw echo in C reaches 36 k/s and 195 to 230 k/s on such a machine. Nine tenths
// of the ring's time are the kernel's, in sendmmsg(2), which on a veth includes
// the other end's receiving. Reading the socket's queue with recvmmsg(2) copies
// once less and drops more cheaply when it is overrun, but what waits there is
// allocated for each frame, at twice its length: what the reserve must not rest on.
// PACKET_QDISC_BYPASS made no difference that could be measured (8.7 against 8.4 us
// at depth 32).
package ring
