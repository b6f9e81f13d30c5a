package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aoe/cmd/internal/background"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/hold"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/initiator"
	"aoe/initiator/attach"
	"aoe/reserve/harden"
)

// An attachConfig is the command line of aoe attach.
type attachConfig struct {
	interfaces       []string
	ifname, linkKind string // ifname is the first of them
	via, socket      string
	readOnly         bool
	serial           string
	poll             pollFlag
	deadsecs         int
	depth, reserved  int
	maxRequest       sizeFlag
	lock             bool
	background       bool
	plan             bool
	json             bool
	wait             time.Duration
	takeOver         bool
	failover         time.Duration // 0: never
	swapSafe         string
	guard            bool // insists
	guardIfPossible  bool
	guardAllow       rulesFlag
	guardLow         sizeFlag
	without          []string        // steps of --swap-safe
	process          *harden.Process // nil without --swap-safe
}

func newAttach() *cobra.Command {
	c := attachConfig{maxRequest: initiator.DefaultMaxRequest}
	cmd := &cobra.Command{
		Use:     "attach -i INTERFACE... ADDRESS",
		Short:   "Attach a disk as a block device, or as a socket",
		Long:    attachHelp(),
		Example: attachExamples,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := parseAddr(args[0])
			if err != nil {
				return err
			}
			if err := c.useInterfaces(); err != nil {
				return err
			}
			if err := c.safely(cmd.Flags()); err != nil {
				return err
			}
			if c.failover < 0 {
				return exit.Usagef("--failover %v: no target has been silent for less than no time", c.failover)
			}
			if err := c.checkGuard(); err != nil {
				return err
			}
			switch {
			case c.plan:
				return c.printPlan(cmd.OutOrStdout(), addr)
			case c.background && !background.Inside():
				return c.startBehind(cmd, addr)
			}
			return c.run(cmd, addr)
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// flags defines the flags of attach.
func (c *attachConfig) flags(f *pflag.FlagSet) {
	interfacesFlag(f, &c.interfaces)
	linkFlag(f, &c.linkKind)
	c.poll.flag(f, "answers")
	f.StringVar(&c.via, "via", "", "how to attach: "+strings.Join(wayNames(), ", ")+" (default the best that gives a block device)")
	f.StringVar(&c.socket, "socket", "", "path of the socket for --via nbd (default in the run directory)")
	f.BoolVarP(&c.readOnly, "read-only", "r", false, "refuse writes")
	f.StringVar(&c.serial, "serial", "", "serial number that the disk must have")
	f.IntVar(&c.deadsecs, "deadsecs", 180, "seconds of silence after which requests fail; negative: never")
	f.IntVar(&c.depth, "depth", initiator.DefaultDepth, "requests under way at once in normal times")
	f.IntVar(&c.reserved, "reserved", 1, "requests guaranteed to be under way when all other memory is gone")
	f.Var(&c.maxRequest, "max-request", "longest request in bytes, a multiple of 4096")
	f.BoolVar(&c.lock, "lock", false, "lock all buffers into memory (needs CAP_IPC_LOCK or RLIMIT_MEMLOCK)")
	f.BoolVar(&c.background, "background", false, "return when the device is there, and go on in the background")
	f.BoolVar(&c.plan, "plan", false, "print what would be reserved, and end")
	f.BoolVar(&c.json, "json", false, "print JSON instead of the device's path, or of the plan")
	f.DurationVar(&c.wait, "wait", initiator.OpenTime, "how long to look for the disk")
	f.DurationVar(&c.failover, "failover", 0, "use another target of the same disk when the first, which must be dead for sure then, has been silent for so long (alone: "+failoverTime.String()+")")
	f.Lookup("failover").NoOptDefVal = failoverTime.String()
	swapSafeFlag(f, &c.swapSafe)
	withoutFlag(f, &c.without)
	guardFlags(f, &c.guard, &c.guardAllow, &c.guardLow)
	f.BoolVar(&c.takeOver, "takeover", false, "take over the device that a process which died left, if there is one (ublk, nbd-kernel)")
}

// failoverTime is what --failover alone means: aoe serve gives up a write that it
// repeats to an NBD server after 30 s, so that it has none in hand any more that
// was sent before it fell silent, unless its whole host stands still.
const failoverTime = 40 * time.Second

func wayNames() (names []string) {
	for _, w := range attach.Ways() {
		if w.Available {
			names = append(names, w.Name)
		}
	}
	return names
}

func (c attachConfig) disk(addr frame.Addr) initiator.Config {
	cfg := initiator.Config{
		Addr: addr, Serial: c.serial, Depth: c.depth, ReservedRequests: c.reserved,
		MaxRequest: int(c.maxRequest), LockMemory: c.lock, DeadTime: time.Duration(c.deadsecs) * time.Second, Failover: c.failover,
	}
	if c.deadsecs < 0 {
		cfg.DeadTime = -1
	}
	cfg.Others = make([]initiator.Port, len(c.others())) // their links come later
	return cfg
}

// startBehind starts the process that holds the disk, and prints what it says.
func (c attachConfig) startBehind(cmd *cobra.Command, addr frame.Addr) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	dir := rundir.Default()
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		return err
	}
	said, err := background.Start(ctx, os.Args[1:], dir.Log(addr))
	if err != nil {
		return err
	}
	_, err = io.WriteString(cmd.OutOrStdout(), said)
	return err
}

// run attaches, says so, and holds the disk until it is detached.
func (c attachConfig) run(cmd *cobra.Command, addr frame.Addr) (err error) {
	defer func() { err = errors.Join(err, c.unharden()) }()
	if err := c.harden(cmd.ErrOrStderr()); err != nil {
		if background.Inside() {
			err = errors.Join(err, background.Ready("", err))
		}
		return err
	}
	// Asked for before there is anything to undo: a signal must not kill us in
	// the middle of it.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stopSignals...)
	defer signal.Stop(signals)

	h, err := c.attach(cmd, addr, signals)
	if c.process != nil {
		_, werr := c.process.Steps().WriteTo(cmd.ErrOrStderr())
		err = errors.Join(err, werr)
	}
	say := ""
	if err == nil {
		say, err = c.describe(h)
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}
	if background.Inside() {
		err = errors.Join(err, background.Ready(say, err))
	} else if err == nil {
		_, err = io.WriteString(cmd.OutOrStdout(), say)
	}
	if err != nil {
		return err
	}
	return h.Run(signals, func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "aoe:", s) })
}

// attach is interrupted by a signal.
func (c attachConfig) attach(cmd *cobra.Command, addr frame.Addr, signals <-chan os.Signal) (*hold.Hold, error) {
	patience := c.wait
	if c.takeOver {
		patience += attach.TakeOverTime
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	attached := make(chan struct{})
	defer close(attached)
	interrupted := make(chan struct{})
	go func() { // ends with attach
		select {
		case <-signals:
			close(interrupted)
			cancel()
		case <-attached:
		}
	}()
	if err := c.checkRoom(addr); err != nil {
		return nil, err
	}
	l, kernel, err := c.openPort(addr)
	if err != nil {
		return nil, err
	}
	cfg := hold.Config{
		Disk: c.disk(addr), Via: c.via, Socket: c.socket, ReadOnly: c.readOnly, Dir: rundir.Default(),
		TakeOver: c.takeOver, Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
	}
	cfg.Disk.Link, cfg.Kernel = l, kernel
	if cfg.Others, err = c.openOthers(addr); err != nil {
		return nil, errors.Join(err, cfg.CloseLinks())
	}
	cfg.Kernel.Guarding, cfg.Kernel.Allow, cfg.Kernel.LowBytes = c.guarding(), c.guardAllow, int64(c.guardLow)
	cfg.Harden, cfg.Facts = c.process, linkFacts(l)
	if c.socket != "" {
		if cfg.Socket, err = filepath.Abs(c.socket); err != nil {
			return nil, errors.Join(err, cfg.CloseLinks())
		}
	}
	h, err := hold.Attach(ctx, cfg)
	select {
	case <-interrupted:
		if h != nil {
			err = h.Close() // the signal came at the last moment
		}
		return nil, exit.With(exit.Interrupted, errors.Join(errors.New("interrupted"), err))
	default:
	}
	if errors.Is(err, rundir.ErrAttached) {
		return nil, exit.With(exit.InUse, err)
	}
	return h, openError(err)
}

// describe is what standard output gets: the device alone, so that a script can
// use it, or everything as JSON.
func (c attachConfig) describe(h *hold.Hold) (string, error) {
	if !c.json {
		return h.Device() + "\n", nil
	}
	var b strings.Builder
	err := show.JSON(&b, h.Status())
	return b.String(), err
}
