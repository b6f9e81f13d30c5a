// Package fabric is initiators and targets on one Ethernet switch, any number of
// them, simulated on a virtual clock. The protocol engines and the memory reserves
// of the initiators are the real ones; cables, switch, targets and the work are
// simulated.
//
// Every cable carries a gigabit a second each way. The switch holds a bounded number
// of frames for each of its ports, and loses the others. A target holds a bounded
// number of frames, from when one arrives until its answer is on the wire, and loses
// the others, whatever number it advertises. Nothing else is lost.
//
// One seed is one run, bit for bit. Everything belongs to one goroutine.
package fabric
