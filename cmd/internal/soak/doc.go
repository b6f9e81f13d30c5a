// Command soak lets a target and an initiator work for an hour and shows that
// neither of them grows:
//
//	go run ./cmd/internal/soak [-time 1h] [-every 1m] [-loss 0.001]
//
// Two hosts of its own (network namespaces joined by a veth pair), a process on
// each: on one the target that `aoe serve` runs, on the other an initiator whose
// process was sealed by package harden, as `aoe attach --swap-safe` does it. Under
// a load of writes, reads that compare what was written, flushes, and frames lost
// on purpose, it prints every minute and at the end, for each process and per
// million requests: heap allocations, page faults, and how large it is. It exits
// with 1 if something was not flat; see [bounds] for what that means and why.
//
// It needs root, and works at any priority: a slow machine makes fewer requests,
// and nothing here is measured in time.
package main
