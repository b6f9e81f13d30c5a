package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBucketsCoverEverythingOnce walks the bounds of all buckets: each begins
// where the one below ends.
func TestBucketsCoverEverythingOnce(t *testing.T) {
	var h Histogram
	next := uint64(0)
	for i := range h.buckets {
		if got := bucketOf(next); got != i {
			t.Fatalf("%d is in bucket %d, want %d", next, got, i)
		}
		upper := upperOf(i)
		if got := bucketOf(upper); got != i {
			t.Fatalf("the upper bound %d of bucket %d is in bucket %d", upper, i, got)
		}
		if upper == math.MaxUint64 {
			if i != len(h.buckets)-1 {
				t.Fatalf("buckets above %d are never used", i)
			}
			return
		}
		next = upper + 1
	}
	t.Fatalf("values from %d have no bucket", next)
}

func TestQuantilesAreCloseToExact(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var h Histogram
	exact := make([]time.Duration, 50_000)
	for i := range exact {
		exact[i] = time.Duration(math.Exp(rng.NormFloat64()*1.5+10) + 1)
		h.Record(exact[i])
	}
	slices.Sort(exact)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := exact[min(max(int(math.Ceil(q*float64(len(exact)))), 1), len(exact))-1]
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*(1+1.0/subBuckets)+1 {
			t.Errorf("quantile %v is %v, exactly %v: off by more than 1/%d", q, got, want, subBuckets)
		}
	}
	if h.Min() != exact[0] || h.Max() != exact[len(exact)-1] || h.Count() != uint64(len(exact)) {
		t.Errorf("min %v, max %v, count %d: want %v, %v, %d",
			h.Min(), h.Max(), h.Count(), exact[0], exact[len(exact)-1], len(exact))
	}
}

func TestHistogramBoundaries(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Min() != 0 || h.Max() != 0 {
		t.Error("an empty histogram tells something")
	}
	h.Record(-5)
	h.Record(math.MaxInt64)
	if h.Min() != 0 || h.Max() != math.MaxInt64 || h.Quantile(1) != math.MaxInt64 {
		t.Errorf("min %v, max %v, quantile(1) %v", h.Min(), h.Max(), h.Quantile(1))
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	var h Histogram
	d := time.Duration(1)
	if n := testing.AllocsPerRun(1000, func() { h.Record(d); d *= 3 }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}
