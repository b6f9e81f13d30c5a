package guard

import (
	"testing"

	"aoe/frame"

	"golang.org/x/sys/unix"
)

// openSocket puts an AF_XDP socket into the place of queue 0, by which the frames
// of a test run come in. It says what it was: the program does not send there.
func (b *bench) openSocket(t testing.TB) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := b.maps.sockets.Put(uint32(0), uint32(fd)); err != nil {
		t.Fatal(err)
	}
}

// TestSteer: what passes goes into the socket if the disk has one, and up the stack
// if not, or if the socket is gone; foreign frames never go there.
func TestSteer(t *testing.T) {
	const redirect = 4 // XDP_REDIRECT of linux/bpf.h
	b := newBench(t, "")
	b.table.SetPaths(ours, []frame.MAC{theirs})
	b.table.SetTags(5, 100, 1, 0)
	answer := frame.Pad(frame.Header{Dst: ours, Src: theirs, Flags: frame.FlagResponse, Addr: disk, Tag: 100<<12 | 5}.Append(nil))
	late := frame.Pad(frame.Header{Dst: ours, Src: theirs, Flags: frame.FlagResponse, Addr: disk, Tag: 101<<12 | 5}.Append(nil))
	check := func(when string, data []byte, want uint32) {
		t.Helper()
		if got, err := b.program.Run(runOptions(data)); got != want || err != nil {
			t.Errorf("%s: the program says %d, %v; want %d", when, got, err, want)
		}
	}
	check("no socket", answer, xdpPass)
	b.openSocket(t)
	check("another disk's socket", answer, xdpPass)
	b.table.words.store(wordSocket, 1)
	check("a socket", answer, redirect)
	check("a late answer", late, xdpPass)
	check("a foreign frame", foreign(), xdpPass)
	b.SetPressure(true)
	check("crunch", answer, redirect)
	check("crunch: a late answer", late, xdpDrop)
	check("crunch: a foreign frame", foreign(), xdpDrop)
	if err := b.maps.sockets.Delete(uint32(0)); err != nil {
		t.Fatal(err)
	}
	check("the socket was closed", answer, xdpPass)
}
