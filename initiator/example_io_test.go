package initiator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/initiatortest"
)

var e11 = frame.Addr{Shelf: 1, Slot: 1}

// A Disk is an io.ReaderAt: everything in the standard library that takes one
// reads from it.
func ExampleDisk_ReadAt() {
	l := port()
	defer l.Close()
	d, err := initiator.Open(context.Background(), initiator.Config{Link: l, Addr: e11})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	whole := io.NewSectionReader(d, 0, d.Size()) // io.Reader, io.Seeker
	n, err := io.Copy(io.Discard, whole)
	fmt.Println(n, err)

	p := make([]byte, 10)
	k, err := d.ReadAt(p, d.Size()-4) // beyond the end, as io.ReaderAt has it
	fmt.Println(k, err)
	// Output:
	// 1048576 <nil>
	// 4 EOF
}

// A Disk is an io.WriterAt of whole sectors: 512 bytes, or a multiple of it.
func ExampleDisk_WriteAt() {
	l := port()
	defer l.Close()
	d, err := initiator.Open(context.Background(), initiator.Config{Link: l, Addr: e11})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	image := strings.NewReader(strings.Repeat("an image", 1024))
	n, err := io.Copy(io.NewOffsetWriter(d, 64<<10), image)
	fmt.Println(n, err)

	_, err = d.WriteAt([]byte("half a sector"), 0)
	fmt.Println(errors.Is(err, initiator.ErrUnaligned))
	// Output:
	// 8192 <nil>
	// true
}

// A context bounds a call. What was passed to it is the caller's again when it
// returns, though the network may still be working on it.
func ExampleDisk_Read() {
	sw := linktest.NewSwitch(linktest.Config{MTU: 9000})
	target, _ := initiatortest.Serve(sw.Port(frame.MAC{2, 0, 0, 0, 0, 2}), initiatortest.Config{Addr: e11})
	l := sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
	defer l.Close()
	d, err := initiator.Open(context.Background(), initiator.Config{Link: l, Addr: e11})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	target.Change(func(c *initiatortest.Config) { c.Faults.Silent = true }) // it hangs
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	p := bytes.Repeat([]byte("."), 8)
	n, err := d.Read(ctx, p, 0)
	fmt.Printf("%d %q %v\n", n, p, errors.Is(err, context.DeadlineExceeded))
	// Output: 0 "........" true
}

// What the target says is another type than what was found on this side.
func ExampleTargetError() {
	l := port()
	defer l.Close()
	ctx := context.Background()
	found, err := initiator.Discover(ctx, l, e11)
	if err != nil || len(found) == 0 {
		log.Fatal("nobody there: ", err)
	}
	// The disk of this example keeps no reserve list.
	_, err = initiator.ReserveList(ctx, l, found[0], aoe.ReserveReleaseCommandRead)
	if said, ok := errors.AsType[*initiator.TargetError](err); ok {
		fmt.Println("the target says", uint8(said.Code))
	}
	// Nobody: the end of the context, and that nobody answered, are both in it.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = initiator.Identify(ctx, l, initiator.Target{Addr: frame.Addr{Shelf: 9, Slot: 9}, MAC: frame.Broadcast})
	fmt.Println(errors.Is(err, initiator.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// the target says 1
	// true true
}

// Trim tells a disk what it need not keep; one that does not know how says so.
func ExampleDisk_Trim() {
	l := port()
	defer l.Close()
	d, err := initiator.Open(context.Background(), initiator.Config{Link: l, Addr: e11})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	err = d.Trim(context.Background(), 0, 64<<10)
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("then it keeps them")
	}
	fmt.Println(err)
	// Output: <nil>
}

// How a disk is, and why, in words and as counters.
func ExampleDisk_State() {
	l := port()
	defer l.Close()
	d, err := initiator.Open(context.Background(), initiator.Config{Link: l, Addr: e11})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if _, err := d.ReadAt(make([]byte, 4096), 0); err != nil {
		log.Fatal(err)
	}
	s := d.Stats()
	fmt.Println(d.State().Condition, s.Requests, s.Failed, s.Reserve.Regime)
	// Output: up 1 0 normal
}
