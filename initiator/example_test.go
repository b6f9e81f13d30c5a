package initiator_test

import (
	"context"
	"fmt"
	"log"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/initiator"
	"aoe/initiator/initiatortest"
)

// port is a link to a segment with one disk, e1.1. Programs open an interface:
// see package aoe/frame/link/open.
func port() link.Link {
	sw := linktest.NewSwitch(linktest.Config{MTU: 9000})
	initiatortest.Serve(sw.Port(frame.MAC{2, 0, 0, 0, 0, 2}), initiatortest.Config{Addr: frame.Addr{Shelf: 1, Slot: 1}})
	return sw.Port(frame.MAC{2, 0, 0, 0, 0, 1})
}

// Opening a disk, writing to it and reading it.
func Example() {
	ctx := context.Background()
	l := port() // open.Open("eth0")
	defer l.Close()
	d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: frame.Addr{Shelf: 1, Slot: 1}})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	sector := make([]byte, 512)
	copy(sector, "hello, disk")
	if _, err := d.WriteAt(sector, 4096); err != nil {
		log.Fatal(err)
	}
	if err := d.Flush(ctx); err != nil { // now it is durable
		log.Fatal(err)
	}
	p := make([]byte, 4)
	if _, err := d.ReadAt(p, 4103); err != nil { // io.ReaderAt: any alignment
		log.Fatal(err)
	}
	fmt.Printf("%s of %d bytes\n", p, d.Size())
	// Output: disk of 1048576 bytes
}

// Looking for disks.
func ExampleDiscover() {
	l := port()
	defer l.Close()
	found, err := initiator.Discover(context.Background(), l, frame.Anywhere)
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range found {
		fmt.Println(t.Addr, t.MAC, t.BufferCount)
	}
	// Output: e1.1 02:00:00:00:00:02 64
}

// The asynchronous interface: the payload is put into the frames themselves,
// and nothing is allocated or waited for behind Admit.
func ExampleDisk_Admit() {
	ctx := context.Background()
	l := port()
	defer l.Close()
	d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: frame.Addr{Shelf: 1, Slot: 1}})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	r, err := d.Admit(ctx, initiator.Op{Kind: initiator.Write, Offset: 0, Length: 16384})
	if err != nil {
		log.Fatal(err)
	}
	for i, s := range r.Segments() {
		copy(s, fmt.Sprintf("frame %d", i))
	}
	ended := make(chan error, 1)
	r.Submit(func(r *initiator.Request) { // runs on the disk's loop: must not block
		ended <- r.Err()
		r.Release()
	})
	fmt.Println(<-ended)
	// Output: <nil>
}
