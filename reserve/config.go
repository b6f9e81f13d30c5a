package reserve

import "fmt"

// A Config says how much memory there is to be, and how it is laid out.
// [Sizing.Plan] makes one from what is to be guaranteed.
type Config struct {
	// BufferSize is the bytes in one buffer: the longest frame, header
	// included. There is no default: zero and less are refused.
	BufferSize int

	// Headroom is the offset in a buffer that Align applies to: what stands
	// there, and not the first byte, is aligned. AoE's data starts 36 bytes
	// into a frame, so Headroom 36 and Align 4096 give payload that a file
	// opened with O_DIRECT accepts without a copy. Zero aligns the first
	// byte; less is refused.
	Headroom int

	// Align is the alignment of Data[Headroom], a power of two up to 4096.
	// Zero, and anything below 64, means 64: one cache line, so that two
	// processors do not fight over the ends of two buffers.
	Align int

	// Reserve is how many buffers are mapped at start and kept until Close.
	// There is no default: zero and less are refused.
	Reserve int

	// Normal is the most buffers that normal allocation may add. Zero or less
	// means none: everything is served from the reserve.
	Normal int

	// Slab is how many bytes normal allocation maps at a time, rounded to
	// whole buffers and pages. Zero or less means 256 KiB, or a quarter of
	// Normal if that is less.
	Slab int

	// Lock locks the reserve, and every slab, into memory (mlock(2)): without
	// it the buffers may be swapped out, on a disk that may need them to be
	// swapped in. The zero value does not.
	Lock bool

	// KeepAvailable is the bytes that the system must keep available
	// (MemAvailable in /proc/meminfo) behind a slab that is mapped: normal
	// allocation fails below it, before the system begins to reclaim for our
	// sake. Zero means a sixty-fourth of the machine's memory, less than zero
	// does not look. Systems without /proc/meminfo are not looked at.
	KeepAvailable int64

	// FailNormal makes normal allocation fail whenever it returns true. It is
	// asked once for each slab, claim and refill that would take normal
	// memory, with the lock held: it must be quick and not call back. See
	// [Faults]. Nil means never.
	FailNormal func() bool
}

const (
	cacheLine       = 64
	pageSize        = 4096 // the largest alignment; the system's pages may be larger
	defaultSlab     = 256 << 10
	maxBuffers      = 1 << 24
	maxBufferSize   = 1 << 24
	slabsOfBudget   = 4  // a small budget still comes in this many steps
	keepOfMemory    = 64 // KeepAvailable's default is this fraction of the machine
	configErrPrefix = "reserve: Config."
)

// withDefaults returns c with every default filled in, or says what is wrong.
func (c Config) withDefaults() (Config, error) {
	c.Align = max(c.Align, cacheLine)
	c.Normal = max(c.Normal, 0)
	switch {
	case c.BufferSize < 1 || c.BufferSize > maxBufferSize:
		return c, fmt.Errorf(configErrPrefix+"BufferSize %d: want 1 to %d", c.BufferSize, maxBufferSize)
	case c.Headroom < 0 || c.Headroom > c.BufferSize:
		return c, fmt.Errorf(configErrPrefix+"Headroom %d: want 0 to BufferSize", c.Headroom)
	case c.Align > pageSize || c.Align&(c.Align-1) != 0:
		return c, fmt.Errorf(configErrPrefix+"Align %d: want a power of two up to %d", c.Align, pageSize)
	case c.Reserve < 1 || c.Reserve > maxBuffers:
		return c, fmt.Errorf(configErrPrefix+"Reserve %d: want 1 to %d buffers", c.Reserve, maxBuffers)
	case c.Normal > maxBuffers:
		return c, fmt.Errorf(configErrPrefix+"Normal %d: want at most %d buffers", c.Normal, maxBuffers)
	}
	return c, nil
}

// A layout is how buffers lie in a mapping.
type layout struct {
	size   int // of a buffer
	offset int // of the first
	stride int // from one to the next
}

func (c Config) layout() layout {
	offset := (c.Align - c.Headroom%c.Align) % c.Align
	// The stride counts whole cache lines, also where a buffer begins inside
	// one, so that no line is shared by two buffers.
	lines := roundUp(offset%cacheLine+c.BufferSize, cacheLine)
	return layout{size: c.BufferSize, offset: offset, stride: roundUp(lines, c.Align)}
}

// bytes is the size of a mapping of n buffers, in whole pages.
func (l layout) bytes(n int) int {
	if n == 0 {
		return 0
	}
	return roundUp(l.offset+n*l.stride, pageSize)
}

// at is the i-th buffer of a mapping.
func (l layout) at(mapping []byte, i int) []byte {
	start := l.offset + i*l.stride
	return mapping[start : start+l.size : start+l.size]
}

// slabBuffers is how many buffers one slab holds.
func (c Config) slabBuffers() int {
	if c.Normal == 0 {
		return 0
	}
	stride := c.layout().stride
	if c.Slab > 0 {
		return min(max(1, c.Slab/stride), c.Normal)
	}
	return min(max(1, defaultSlab/stride), (c.Normal+slabsOfBudget-1)/slabsOfBudget)
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

func defaultKeep(total int64) int64 {
	if total == unknown {
		return -1
	}
	return total / keepOfMemory
}
