package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	protocol "github.com/mdlayher/aoe"
	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/seek"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/initiator"
)

// A oneDisk is the part of the command line that says where the disk is that a
// command asks something of.
type oneDisk struct {
	interfaces []string
	linkKind   string
	mac        string
	timeout    time.Duration
	json       bool
}

// flags declares them.
func (o *oneDisk) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	interfacesFlag(f, &o.interfaces)
	linkFlag(f, &o.linkKind)
	f.StringVar(&o.mac, "mac", "", "the target's port, where several disks answer to one address")
	f.DurationVarP(&o.timeout, "timeout", "t", seek.DefaultWait, "how long to wait for an answer")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

// onWhich are the interfaces to ask on.
func (o *oneDisk) onWhich() ([]string, error) {
	if len(o.interfaces) > 0 {
		return o.interfaces, nil
	}
	return ethernets()
}

// find looks for the disk called name; the caller closes what it returns.
func (o *oneDisk) find(ctx context.Context, name string) (*seek.Disk, error) {
	addr, err := parseAddr(name)
	if err != nil {
		return nil, err
	}
	return o.findAddr(ctx, addr)
}

func (o *oneDisk) findAddr(ctx context.Context, addr frame.Addr) (*seek.Disk, error) {
	var mac frame.MAC
	var err error
	if o.mac != "" {
		if mac, err = frame.ParseMAC(o.mac); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
	}
	names, err := o.onWhich()
	if err != nil {
		return nil, err
	}
	d, err := seek.One(ctx, seek.Config{
		Interfaces: names, Addr: addr, MAC: mac, Wait: o.timeout,
		Open: func(name string) (link.Link, error) { return openLink(name, o.linkKind) },
	})
	return d, answered(err)
}

// ask calls f with the time that an answer may take.
func (o *oneDisk) ask(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return answered(f(ctx))
}

// editError says what to do about an edit that was refused: targets have but one
// code for that, which says little.
func editError(err error) error {
	if e, ok := errors.AsType[*initiator.TargetError](err); ok && e.Code == protocol.ErrorBadArgumentParameter {
		return fmt.Errorf("%w: the target may not let this MAC edit over the wire (aoe serve --wire-edits says who may)", err)
	}
	return err
}

// answered gives the error of a disk that does not answer its status.
func answered(err error) error {
	if errors.Is(err, initiator.ErrNoAnswer) && !errors.Is(err, context.Canceled) {
		return exit.With(exit.NoAnswer, err)
	}
	return err
}
