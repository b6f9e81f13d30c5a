package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"aoe/cmd/internal/bench"
	"aoe/cmd/internal/show"
	"aoe/target"
)

// A config is the command line.
type config struct {
	initiators, disks int
	each              int // disks that an initiator uses
	depth, blockSize  int
	sizeBytes         int64
	pattern           bench.Pattern
	mode              target.Mode
	time              time.Duration
	dir               string
}

func main() {
	c := config{pattern: bench.RandRead}
	flag.IntVar(&c.initiators, "initiators", 8, "how many hosts use the disks")
	flag.IntVar(&c.disks, "disks", 16, "how many disks there are")
	flag.IntVar(&c.each, "each", 4, "how many of them an initiator uses; each is used by equally many")
	flag.IntVar(&c.depth, "depth", 4, "requests in flight, of each initiator to each disk")
	flag.IntVar(&c.blockSize, "bs", 4096, "bytes of a request")
	flag.Int64Var(&c.sizeBytes, "size", 16<<20, "bytes of a disk")
	flag.Func("rw", "read, write, randread or randwrite (default randread)", func(s string) (err error) {
		c.pattern, err = bench.ParsePattern(s)
		return err
	})
	flag.TextVar(&c.mode, "mode", target.ModeSync, "what a write is worth: sync, flush or direct")
	flag.DurationVar(&c.time, "time", 5*time.Second, "how long")
	flag.StringVar(&c.dir, "dir", "", "where the disks' files are made (default: the disks are memory)")
	flag.Parse()
	if err := measure(context.Background(), c); err != nil {
		fmt.Fprintln(os.Stderr, "fair:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, c config) (err error) {
	if c.initiators < 1 || c.disks < 1 || c.disks > 255 {
		return errors.New("want at least one initiator, and 1 to 255 disks")
	}
	if c.each = min(c.each, c.disks); c.each < 1 || c.initiators*c.each%c.disks != 0 {
		return errors.New("want so many disks for -each initiator that every disk has equally many")
	}
	b, err := newBed(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	got, err := b.run(ctx)
	if err != nil {
		return err
	}
	return c.print(got, b.server.Stats())
}

// print prints a line for each initiator and the verdict.
func (c config) print(got []uint64, st target.Stats) error {
	var all, overflow uint64
	least := got[0]
	for _, n := range got {
		all += n
		least = min(least, n)
	}
	for _, d := range st.Disks {
		overflow += d.Overflow
	}
	fair := float64(all) / float64(len(got))
	t := show.NewTable("initiator", ">requests", ">per second", ">of its fair share")
	for i, n := range got {
		t.Row(fmt.Sprint(i+1), show.Count(n), fmt.Sprintf("%.0f", float64(n)/c.time.Seconds()), fmt.Sprintf("%.2f", float64(n)/fair))
	}
	if err := t.Markdown(os.Stdout); err != nil {
		return err
	}
	_, err := fmt.Printf("\n%d initiators, %d disks, %d for each, %s of %d bytes, depth %d each: %.0f requests a second in all, the slowest got %.2f of its fair share; %d dropped for want of a buffer\n",
		c.initiators, c.disks, c.each, c.pattern, c.blockSize, c.depth, float64(all)/c.time.Seconds(), float64(least)/fair, overflow)
	return err
}
