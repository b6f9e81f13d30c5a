// Package trace tells what passes on a segment: a line for each AoE frame, how
// long each request took, and which were sent again or never answered.
//
// A [Tracker] is told of the frames in order of time, from a capture file or from
// an interface (see [Listen]), and matches answers with requests: by initiator,
// command and tag, as an initiator does. It keeps a bounded number of them.
//
// A request that is sent again has a new tag with most initiators. So a request
// for the same command, sectors and disk by the same initiator, while one is
// unanswered, counts as the same request sent again; two that are under way on
// purpose are taken for one.
//
// A Tracker belongs to one goroutine, and its memory to the caller's patience: it
// allocates for each frame.
package trace
