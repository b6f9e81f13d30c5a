package target

import "time"

// A bucket lets through at most rate a second, and as many at once. It is full
// at first. A negative rate lets everything through.
type bucket struct {
	rate  int
	taken int // since refilled, less what has been refilled
	last  time.Time
}

// take asks for one.
func (b *bucket) take(now func() time.Time) bool {
	if b.rate < 0 {
		return true
	}
	if b.taken > 0 {
		t := now()
		// Refilled by whole tokens, so that no fraction is lost.
		back := min(int64(t.Sub(b.last))*int64(b.rate)/int64(time.Second), int64(b.taken))
		if back > 0 {
			b.taken -= int(back)
			b.last = b.last.Add(time.Duration(back) * time.Second / time.Duration(b.rate))
		}
	}
	if b.taken >= b.rate {
		return false
	}
	if b.taken == 0 {
		b.last = now()
	}
	b.taken++
	return true
}
