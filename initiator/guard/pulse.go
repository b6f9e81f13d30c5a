package guard

// MaxDisks is how many disks a guard can look after.
const MaxDisks = 8

// The words of a guard's pulse.
const (
	wordPressure = 0 // not zero: somebody says that memory is short
	wordDisks    = 8 // the first of the disks' words
	pulseWords   = wordDisks + 2*MaxDisks
)

// wordBeat is when disk i told that it works, by the monotonic clock in
// nanoseconds; 0 when there is no such disk, or it has not begun.
func wordBeat(i int) int { return wordDisks + 2*i }

// wordShort is not zero when disk i says that memory is short.
func wordShort(i int) int { return wordDisks + 2*i + 1 }
