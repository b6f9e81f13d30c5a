package inside

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"aoe/cmd/internal/lab"

	"golang.org/x/sys/unix"
)

// Run fills memory and tells how it went; the error is what it told.
func (c Fill) Run() error {
	if c.Bytes <= 0 {
		return fmt.Errorf("inside: fill %d bytes: want more than none", c.Bytes)
	}
	if c.Rounds == 0 {
		c.Rounds = 1
	}
	k, err := openKmsg()
	if err != nil {
		return err
	}
	n := int((c.Bytes + pageBytes - 1) / pageBytes)
	f := &filler{seed: c.Seed, rng: c.Seed, now: time.Now}
	if f.generations, err = lockedBytes(n); err != nil {
		return err
	}
	table, err := lockedBytes(n * int(unsafe.Sizeof(uintptr(0))))
	if err != nil {
		return err
	}
	arena, err := unix.Mmap(-1, 0, n*pageBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("inside: map %d pages: %w", n, err)
	}
	// Huge pages would be written and read as a whole.
	if err := unix.Madvise(arena, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("inside: %w", err)
	}
	// Pointers to memory that is not the heap's, in memory that is not either.
	f.pages = unsafe.Slice((**[pageWords]uint64)(unsafe.Pointer(&table[0])), n)
	for i := range f.pages {
		f.pages[i] = (*[pageWords]uint64)(unsafe.Pointer(&arena[i*pageBytes]))
	}
	f.progress = func(phase string, done, total int) {
		// Nobody can be told that telling failed.
		_ = k.begin("fill").word("phase", phase).number("done", int64(done)).number("of", int64(total)).
			number("worst_us", f.worst.Microseconds()).end()
	}
	if c.UnreadBytes > 0 {
		s, err := lab.OpenUnread(c.Interface, c.UnreadBytes)
		if err != nil {
			return err
		}
		defer s.Close()
		if c.Read {
			go drain(s) // ends with the process
		}
	}
	debug.SetGCPercent(-1)
	runtime.GC()
	if err := k.begin("ready").end(); err != nil {
		return err
	}
	began := time.Now()
	err = f.guarded(c.Rounds)
	return errors.Join(err, report(k, f, err, time.Since(began)))
}

// errUnreadable is a page that the kernel could not read back: SIGBUS.
var errUnreadable = errors.New("inside: a page could not be read from the swap device (SIGBUS)")

// guarded runs the filler and turns a fault into an error.
func (f *filler) guarded(rounds int) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault, ok := recover().(interface{ Addr() uintptr }); ok {
			err = fmt.Errorf("%w: at %#x", errUnreadable, fault.Addr())
		}
	}()
	return f.run(rounds)
}

// report tells how the filler ended.
func report(k *kmsg, f *filler, err error, took time.Duration) error {
	wrong, isWrong := errors.AsType[*WrongPage](err)
	switch {
	case err == nil:
		k.begin("fill ended").word("how", "ok")
	case isWrong:
		k.begin("fill ended").word("how", "wrong").number("page", int64(wrong.Page)).number("word", int64(wrong.Word))
	default:
		k.begin("fill ended").word("how", "unreadable")
	}
	return k.number("pages", int64(len(f.pages))).number("worst_us", f.worst.Microseconds()).
		number("took_us", took.Microseconds()).end()
}

// drain reads and throws away, for the control of the experiment: a flood that is
// read does no harm.
func drain(r io.Reader) {
	buf := make([]byte, 2*pageBytes)
	for {
		if _, err := r.Read(buf); err != nil {
			return
		}
	}
}
