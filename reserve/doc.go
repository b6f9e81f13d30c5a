// Package reserve is memory for frames that cannot run out: a fixed arena that
// carries the work on when ordinary allocation fails, and the rules by which it
// is shared, so that whoever begins can finish. It knows no frames and no
// network. docs/RESERVE.md tells the whole story; I1 to I14 are its rules.
//
// # Usage
//
//	plan, err := reserve.Sizing{MTU: 9000, FramesPerRequest: 16}.Plan()
//	plan.WriteTo(os.Stdout)                         // the bill
//	r, err := reserve.New(plan.Config)              // backed now, or never
//	stock := r.NewStock(plan.Want, plan.Stock)      // one for each link
//	grants[i] = r.NewGrant(plan.Claim)              // one for each request there can be
//	r.Seal()                                        // no heap allocation from here on
//
//	err = r.Admit(ctx, g, n)                        // everything the request needs, or wait
//	frames := stock.Frames()                        // the receiving goroutine's turn:
//	n, err := link.Recv(frames, timeout)            //   for each of the n frames, either
//	stock.Exchange(slot, g, i)                      //   it is a reply: keep it, or
//	stock.Drop(slot)                                //   it is not: freed at once
//	g.Release()                                     // when the request is finished
//
// # Ownership and concurrency
//
// A buffer is at any moment free, in one grant, or in one stock, and belongs to
// whoever owns that. Admit, TryAdmit, AdmitFunc, Cancel, Release, SetPressure,
// Regime, Stats and Close may be called by any number of goroutines; a single
// Grant by one at a time. A Stock, and Exchange with whatever grants, belong to
// the goroutine that receives. After Close only Release may still be called.
//
// There is one mutex. It is held for a few list operations and never over a
// system call, and there are no caches per thread: each would add its size to
// what the reserve must hold. A stock's Exchange and Drop take no lock, and
// Frames none in a steady state (8 ns a frame; a lock would add 6, and waiting).
//
// # Normal and crunch
//
// In [Normal] everything is carried by slabs that are mapped on demand, up to a
// budget, and the reserve is whole. Slabs are mapped ahead of need by a
// goroutine of their own, because mmap may wait for memory to be reclaimed, and
// so perhaps for us. A claim for which normal memory is not free yet waits.
//
// When normal allocation fails (ENOMEM, a system with too little available,
// pressure, an injected fault, or a mapping that does not return) the regime is
// [Crunch]: stocks shrink to what they were guaranteed, and claims may use the
// reserve. Slabs that are mapped stay in use; under pressure they are left
// alone, and returned as they fall idle. A budget that is used up is no crunch:
// nothing is scarce but the operator's permission.
//
// The way back is slower than the way in. A crunch lasts at least 32 releases
// without a failure, twice as many when the one before ended less than 4096
// releases ago or asking for memory was in vain, and then until
// the stocks' full size and the largest claim lie free in normal memory, or the
// whole budget is mapped: what comes right after the return cannot fail.
//
// # Why nobody waits for ever
//
// Let R be the buffers of the reserve, G what is guaranteed to all stocks
// together, and C = R - G the largest claim that is accepted (I14: a larger one
// is refused at once). Of mapped buffers, R and N of normal memory, F are free,
// S stocked and H in grants: F + S + H = R + N at every step (I1).
//
//  1. A stock has its guarantee from the moment it is made: only what exceeds
//     it is given back, Exchange gives one for one, and Drop gives nothing. So
//     receiving never needs a buffer that it does not hold.
//  2. N >= S - G always: a stock grows beyond its guarantee only while N > S - G,
//     and a slab is unmapped only if N >= S - G still holds without it. Nothing
//     else changes N or S.
//  3. Hence F + H = R + N - S >= R - G = C: outside the stocks there are always
//     enough buffers for the largest claim. Where they come from is not
//     asked, so that exchanges may mix the origins as they like: a buffer of
//     the reserve that ends up in a stock has left a normal one behind, which
//     rule 2 keeps mapped.
//  4. Whoever holds a grant finishes without another (I3, I4), so H falls to 0
//     unless somebody is admitted; with H = 0, F >= C, and the first in the
//     queue is served whatever the regime says. Each Release serves from the
//     head of the queue, and nobody overtakes, so every claim becomes first.
//
// None of this asks the system for memory: all of R + N is mapped and backed by
// pages. With Config.Lock it also stays so; without, it can be swapped out, and
// the argument holds only if the swap is on another disk.
//
// What the check after every step verifies in constant time is exactly 1 to 3.
package reserve
