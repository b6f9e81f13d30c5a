// Package echo is the simplest peer there can be, and the measure of it: a
// responder that answers every frame with one of a given size, and a client
// that keeps a number of requests in flight and counts. There is no disk, no
// protocol and no retransmission in it, so what it measures is the limit of a
// link: nothing on top of that link can be faster.
package echo
