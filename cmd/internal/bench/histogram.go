package bench

import (
	"math/bits"
	"time"
)

// subBits is how many bits below a value's highest one a Histogram tells apart:
// 32 buckets for each power of two, so that a quantile is at most 1/32 too high.
const subBits = 5

const subBuckets = 1 << subBits

// A Histogram counts durations in buckets whose width grows with the value, in
// the manner of HdrHistogram. Its zero value is ready for use. Recording
// allocates nothing and takes a few nanoseconds. It belongs to one goroutine.
type Histogram struct {
	buckets [(64 - subBits + 1) * subBuckets]uint64
	count   uint64
	sum     uint64
	min     uint64
	max     uint64
}

// bucketOf is the index of the bucket that counts v. Values below subBuckets
// have a bucket each; above, the index is made of the position of the highest
// bit and the subBits bits below it.
func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits | int(v>>shift)&(subBuckets-1)
}

// upperOf is the largest value that bucket i counts.
func upperOf(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i>>subBits - 1
	low := uint64(subBuckets|i&(subBuckets-1)) << shift
	return low + (1<<shift - 1)
}

// Record counts one duration. A negative one, which a clock set back could
// yield, counts as zero.
func (h *Histogram) Record(d time.Duration) {
	v := uint64(max(d, 0))
	h.buckets[bucketOf(v)]++
	if h.count == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.count++
	h.sum += v
}

// Count is the number of durations recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Mean is their arithmetic mean, 0 when there are none.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / h.count)
}

// Min is the smallest duration recorded, exactly, and 0 when there are none.
func (h *Histogram) Min() time.Duration { return time.Duration(h.min) }

// Max is the largest duration recorded, exactly, and 0 when there are none.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Quantile is the duration that the fraction q of the recorded ones does not
// exceed, at most 1/32 too high. Quantile(1) is Max.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(q * float64(h.count))
	if float64(rank) < q*float64(h.count) {
		rank++
	}
	rank = min(max(rank, 1), h.count)
	seen := uint64(0)
	for i, n := range h.buckets {
		seen += n
		if seen >= rank {
			return time.Duration(min(max(upperOf(i), h.min), h.max))
		}
	}
	panic("bench: histogram counts less than it recorded")
}
