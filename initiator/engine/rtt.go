package engine

import "time"

// A class is a group of commands that take the target about as long. Each has
// an estimator of its own (H6): a flush of a second says nothing of reads, and
// a query config, which no disk has a part in, measures the network.
type class uint8

const (
	classRead class = iota
	classWrite
	classFlush
	classNetwork // query config
	classes
)

func (k Kind) class() class {
	switch k {
	case Read:
		return classRead
	case Flush:
		return classFlush
	}
	return classWrite
}

// An estimator is that of RFC 6298, section 2, in nanoseconds.
type estimator struct {
	samples     uint64
	srtt        time.Duration
	rttvar      time.Duration
	least, most time.Duration
}

// sample takes in one measured round trip. Samples of frames that were sent
// more than once count as well: the tag tells which copy was answered, so
// Karn's problem (RFC 6298, section 3) does not arise.
func (e *estimator) sample(rtt time.Duration) {
	e.samples++
	if e.samples == 1 {
		e.srtt, e.rttvar, e.least, e.most = rtt, rtt/2, rtt, rtt
		return
	}
	e.least, e.most = min(e.least, rtt), max(e.most, rtt)
	// "RTTVAR <- (1 - beta) * RTTVAR + beta * |SRTT - R'|
	//  SRTT <- (1 - alpha) * SRTT + alpha * R'
	//  alpha=1/8, beta=1/4" (RFC 6298, section 2.3)
	d := e.srtt - rtt
	if d < 0 {
		d = -d
	}
	// A deviation that grows counts at once; one that shrinks is forgotten
	// slowly. With thousands of samples in a timeout's time, beta=1/4 would
	// forget yesterday's stall before the next one.
	if d > e.rttvar {
		e.rttvar += (d - e.rttvar) / 4
	} else {
		e.rttvar -= (e.rttvar - d) / 64
	}
	e.srtt += (rtt - e.srtt) / 8
}

// timeout is the retransmission timeout: "RTO <- SRTT + max (G, K*RTTVAR)"
// (RFC 6298, section 2.3) within [least, most], or first without a sample.
func (e *estimator) timeout(first, least, most time.Duration) time.Duration {
	if e.samples == 0 {
		return max(first, least)
	}
	return min(max(e.srtt+4*e.rttvar, least), most)
}
