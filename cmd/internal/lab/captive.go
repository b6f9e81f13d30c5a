package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/orphan"
)

// A CaptiveConfig describes a command that is run beside an attached disk.
type CaptiveConfig struct {
	Config
	Conditions
	Command Command
	// Report, if not nil, gets a line about the frames when the command has
	// ended.
	Report io.Writer
}

// Captive attaches a disk, runs the command on the initiator's host, and removes
// everything. The error carries the command's exit status, or exit.LabFailed if
// the command did not get to run, or what was left could not be removed.
//
// The command finds in its environment
//
//	AOE_DEVICE     the block device, or the socket
//	AOE_ADDR       the disk's address
//	AOE_INTERFACE  the interface of the host that it runs on
//	AOE_RUN_DIR    for aoe stat and aoe detach
//	AOE_LAB        the lab's directory, by which Clean knows the command
func Captive(ctx context.Context, cfg CaptiveConfig) error {
	l, err := New(ctx, cfg.Config)
	if err != nil {
		return exit.With(exit.LabFailed, err)
	}
	result := captive(ctx, l, cfg)
	if err := l.Close(ctx); err != nil {
		return exit.With(exit.LabFailed, errors.Join(err, result))
	}
	return result
}

func captive(ctx context.Context, l *Lab, cfg CaptiveConfig) error {
	if err := l.Attach(ctx, cfg.Conditions); err != nil {
		return exit.With(exit.LabFailed, err)
	}
	c := cfg.Command
	c.Env = append(c.Env,
		"AOE_DEVICE="+l.Device(), "AOE_ADDR="+Addr.String(),
		"AOE_INTERFACE="+l.pair.A.Interface, "AOE_RUN_DIR="+string(l.RunDir()), orphan.Mark(l.dir))
	c.Start = func(cmd *exec.Cmd) error { return l.pair.A.Do(cmd.Start) }
	result := c.Run(ctx)
	if l.hold == nil {
		return result
	}
	if cfg.Report != nil {
		st := l.Stats()
		fmt.Fprintf(cfg.Report, "aoe lab: %d frames sent, %d of them again, %d kept, %d freed at once; %d of %d reserve buffers free at the least\n",
			st.Sent, st.Retransmitted, st.Answered, st.Drops.Sum(), st.Reserve.ReserveLow, st.Reserve.Reserve)
	}
	if err := l.Detach(context.WithoutCancel(ctx)); err != nil {
		return exit.With(exit.LabFailed, errors.Join(err, result))
	}
	return result
}
