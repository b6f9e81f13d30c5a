package harden

// A system is the machine's side: everything here that can fail.
type system interface {
	// execAsIOFlusher sets PR_SET_IO_FLUSHER on the calling thread and executes
	// this program again from it, so that it returns only with an error.
	execAsIOFlusher() error
	// executed reports whether this process is what execAsIOFlusher made.
	executed() bool
	// threads are those of this process.
	threads() ([]thread, error)
	// makeThreads makes at least n threads that the runtime keeps.
	makeThreads(n int) error
	// allowRunning lets at least n goroutines run at once.
	allowRunning(n int)
	// setRealTime is for the calling thread.
	setRealTime() error
	setOOMScore(score int) error
	// total is the machine's memory in bytes.
	total() (int64, error)
	// sysctl is a setting of the machine. Where the kernel has none such the error
	// is fs.ErrNotExist. Neither allocates after the first time.
	sysctl(s sysctl) (int, error)
	setSysctl(s sysctl, n int) error
	// collect grows the heap by that many bytes, collects it and switches the
	// collector off.
	collect(grow int)
	// heapAllocated is the bytes allocated on the heap since the process began.
	heapAllocated() uint64

	// lockFuture locks every mapping that is made from now on.
	lockFuture() error
	// unlock undoes lockFuture and lock.
	unlock() error
	mappings() ([]mapping, error)
	// resident reports whether any page of the range is in memory.
	resident(start, bytes uintptr) (bool, error)
	// lock brings all pages of the range into memory and keeps them; onFault
	// keeps those that are there, and others from when they are touched.
	lock(start, bytes uintptr, onFault bool) error
}

// A sysctl is a setting of the machine that is changed.
type sysctl int

const (
	minFree     sysctl = iota // KiB
	boostFactor               // hundredths of a per cent
	sysctls                   // how many there are
)

func (s sysctl) String() string {
	return [...]string{"vm.min_free_kbytes", "vm.watermark_boost_factor"}[s]
}

// A thread is what the kernel says of one.
type thread struct {
	id        int
	ioFlusher bool // both flags that PR_SET_IO_FLUSHER sets
}

// A mapping is a line of /proc/self/maps.
type mapping struct {
	start, end uintptr
	accessible bool // readable at least
	anonymous  bool // private and of no file
	special    bool // the kernel's own: vdso and the like
}

func (m mapping) bytes() uintptr { return m.end - m.start }
