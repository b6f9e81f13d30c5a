package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/echo"
	"aoe/frame/link/open"
	"aoe/frame/link/ring"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// This program is also what answers an echo, a bare target, and what holds a block
// device: each in a process of its own, on its own processor, as what it is compared
// with. The first argument is then roleWord, the second the role.
const (
	roleWord = "role"
	echoRole = "echo" // INTERFACE, length of the answers
	bareRole = "bare" // INTERFACE, image
	fuseRole = "fuse" // DIRECTORY, size of the disk, INTERFACE if it is not in memory
)

// playRole does what the arguments say until a signal comes. When it is ready it
// prints a line: the block device, if there is one.
func playRole(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 3 && args[0] == echoRole:
		reply, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return answerEcho(ctx, args[1], reply)
	case len(args) == 3 && args[0] == bareRole:
		return serveBare(ctx, args[1], args[2])
	case len(args) >= 3 && args[0] == fuseRole:
		size, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return holdFUSE(ctx, args[1], size, args[3:])
	}
	return fmt.Errorf("no such role: %q", args)
}

func answerEcho(ctx context.Context, ifname string, reply int) error {
	return onRing(ctx, ifname, open.UsualPoll, func(l link.Link) error { return echo.Serve(l, echo.Config{Reply: reply}) })
}

// onRing opens the interface, to poll it for so long, says that all is ready, and
// serves until ctx ends.
func onRing(ctx context.Context, ifname string, poll time.Duration, serve func(link.Link) error) error {
	l, err := ring.Open(ring.Config{Interface: ifname, Poll: poll})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if _, err := fmt.Println("ready"); err != nil {
		return errors.Join(err, l.Close())
	}
	return serve(l)
}

// closeTime is how long a block device may take to go, with all that was written
// to it and not yet sent.
const closeTime = 20 * time.Second

func holdFUSE(ctx context.Context, dir string, size int64, ifname []string) (err error) {
	disk, closeDisk, err := openFor(ctx, size, ifname)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDisk()) }()
	dev, err := attach.FUSE(ctx, attach.FUSEConfig{Disk: disk, Dir: dir})
	if err != nil {
		return err
	}
	_, err = fmt.Println(dev.Path)
	if err == nil {
		err = dev.Wait(ctx)
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if cerr := dev.Close(ctx); cerr != nil {
		return errors.Join(err, cerr, dev.Abandon(context.WithoutCancel(ctx)))
	}
	return err
}

// openFor is the disk behind a block device: of the interface, or memory.
func openFor(ctx context.Context, size int64, ifname []string) (attach.Disk, func() error, error) {
	if len(ifname) == 0 {
		m := attachtest.New(attachtest.Config{
			Size: size, Segment: payload, Requests: initiator.DefaultDepth, Info: attach.Info{Preferred: payload},
		})
		return m, func() error { m.Close(); return nil }, nil
	}
	addr, err := frame.ParseAddr(diskAddr)
	if err != nil {
		return nil, nil, err
	}
	l, err := ring.Open(ring.Config{Interface: ifname[0], Poll: open.UsualPoll})
	if err != nil {
		return nil, nil, err
	}
	d, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: addr})
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return attach.Over(d), func() error { return errors.Join(d.Close(), l.Close()) }, nil
}
