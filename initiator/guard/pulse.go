package guard

// MaxDisks is how many disks a guard can look after.
const MaxDisks = 8

// The words of a guard's pulse. Several processes may share it, see share_linux.go.
const (
	wordLayout = 0 // layout, so that another version of this program is known
	wordHolder = 1 // the process that holds the attachment, 0 when none does
	wordDisks  = 8 // the first of the disks' words, diskWords each
	diskWords  = 4
	pulseWords = wordDisks + diskWords*MaxDisks

	layout = 2
)

// wordBeat is when disk i told that it works, by the monotonic clock in
// nanoseconds; 0 when there is no such disk, or it has not begun.
func wordBeat(i int) int { return wordDisks + diskWords*i }

// wordShort is not zero when memory is short for disk i: the bits below say who
// found it.
func wordShort(i int) int { return wordDisks + diskWords*i + 1 }

// wordOwner is the process whose disk it is, 0 if there is none.
func wordOwner(i int) int { return wordDisks + diskWords*i + 2 }

// wordKey is the disk's key in the list of tables.
func wordKey(i int) int { return wordDisks + diskWords*i + 3 }

// Bits of wordShort.
const (
	shortFound = 1 // by the disk's loop
	shortTold  = 2 // by SetPressure
)
