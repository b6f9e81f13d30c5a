// Command speed measures how fast this is next to what there is, and prints a
// table of medians and ratios in Markdown:
//
//	go run ./cmd/internal/speed [-rounds 5] [-time 2s] [-only "depth 1"]
//
// Everything runs on hosts of its own (network namespaces joined by veth pairs
// with MTU 9000, one for each target) and files on tmpfs, as root, in rounds: in each round
// every contestant runs every workload once, one after the other, so that a
// machine whose speed drifts slows all of them alike. Compare ratios, not
// numbers from different runs.
//
// The contestants:
//
//   - echo: answers of the same size to frames of the same size, with nothing
//     in between; the limit of the link
//   - plain on vblade, plain on aoe: a window of requests without reserve,
//     retransmission or order, as a small C program would do it, against
//     Debian's vblade and against `aoe serve`
//   - aoe on vblade, aoe on aoe: `aoe bench` against the same
//
// Clients run on the first processor, targets on the others.
//
// With -loss it measures, instead, what our client keeps of its speed on a cable
// that loses 1 % and 5 % of all frames, half of them in each direction.
//
// It is no test: it judges nothing and fails only if something does not run.
package main
