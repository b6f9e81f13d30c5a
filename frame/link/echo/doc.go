// Package echo is the simplest peer there can be, and the measure of it: a
// responder that answers every AoE request with a frame of a given size, and a
// client that keeps a number of requests in flight and counts the answers. There
// is no disk, no protocol and no retransmission, so what it measures is the
// limit of a link: nothing on top of that link can be faster.
//
//	go echo.Serve(a, echo.Config{Reply: 4096 + frame.ATADataOffset})
//	result, err := echo.Run(ctx, b, echo.Load{Peer: a.State().MAC, Depth: 32, For: time.Second})
//
// Neither allocates once it runs.
package echo
