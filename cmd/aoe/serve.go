package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/keep"
	"aoe/cmd/internal/rundir"
	"aoe/cmd/internal/serving"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/ring"
	"aoe/target"
)

// A serveConfig is the command line of aoe serve.
type serveConfig struct {
	interfaces []string
	linkKind   string
	poll       pollFlag
	disks      []served

	readOnly        bool
	snapshot        bool
	snapshotFile    string
	offset, length  sizeFlag
	mode            string
	serial          string
	buffers         int
	workers         int
	state           string
	wireEdits       string
	wildcardReplies int
	metrics         string
	config, name    string
	verbose         bool
}

// A served is one ADDRESS PATH of the command line.
type served struct {
	addr frame.Addr
	path string
}

func newServe() *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "serve [-i INTERFACE...] [--config FILE] [ADDRESS PATH|URI...]",
		Short: "Serve files, block devices and NBD exports as AoE disks",
		Long:  serveHelp, Example: serveExample,
		Args: func(_ *cobra.Command, args []string) (err error) {
			c.disks, err = parseServed(args)
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			return serve(ctx, c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	interfacesFlag(f, &c.interfaces)
	linkFlag(f, &c.linkKind)
	c.poll.flag(f, "requests")
	f.BoolVarP(&c.readOnly, "read-only", "r", false, "refuse writes")
	f.BoolVar(&c.snapshot, "snapshot", false, "only read the path, and write to a private layer over it that is gone when serve ends")
	f.StringVar(&c.snapshotFile, "snapshot-file", "", "only read the path, and write to the layer in this file, which is made if it is not there")
	f.VarP(&c.offset, "offset", "o", "bytes at the start of the file that are not served")
	f.VarP(&c.length, "length", "l", "bytes to serve (default all behind the offset)")
	f.StringVar(&c.mode, "mode", "sync", "what an answered write is worth: sync (it is on stable storage), flush (it will be after the next FLUSH) or direct (sync, past the page cache)")
	f.StringVar(&c.serial, "serial", "", "serial number (default derived from the file, same for every server of it)")
	f.IntVarP(&c.buffers, "buffers", "b", 0, fmt.Sprintf("buffer count to advertise (default %d)", target.DefaultBufferCount))
	f.IntVar(&c.workers, "workers", 0, fmt.Sprintf("requests of a disk that wait for its device at once (default %d)", target.DefaultWorkers))
	f.StringVar(&c.state, "state", "", "directory that keeps config strings, masks and reserve lists through a restart")
	f.StringVar(&c.wireEdits, "wire-edits", "listed", "who may edit config string, mask and reserve list over the wire: none, listed on the mask, or any")
	f.IntVar(&c.wildcardReplies, "discovery-replies", 0, fmt.Sprintf("answers a second to requests for every disk (default %d, negative: no limit)", target.DefaultWildcardReplies))
	f.StringVar(&c.metrics, "metrics", "", "serve counters to Prometheus over HTTP at this address, localhost:9100/metrics")
	f.StringVar(&c.config, "config", "", "file of disks and interfaces, read again on SIGHUP and by aoe target reload")
	f.StringVar(&c.name, "name", "", "what aoe target calls this target (default target, target2, ...)")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "log disks and links that come, change and go; failures are always logged")
	return cmd
}

// parseServed reads the ADDRESS PATH pairs.
func parseServed(args []string) ([]served, error) {
	if len(args)%2 != 0 {
		return nil, exit.Usagef("want pairs of an address and a path, as in: e1.1 disk.img")
	}
	var all []served
	for i := 0; i < len(args); i += 2 {
		addr, err := parseAddr(args[i])
		if err != nil {
			return nil, err
		}
		all = append(all, served{addr, args[i+1]})
	}
	return all, nil
}

// check refuses what cannot be meant.
func (c serveConfig) check() error {
	switch {
	case len(c.disks) == 0 && c.config == "" && c.name == "":
		return exit.Usagef("nothing to serve: want pairs of an address and a path, as in: e1.1 disk.img; or --config; or --name, to add disks later")
	case len(c.interfaces) == 0 && c.config == "":
		return exit.Usagef("no interface: say -i eth1")
	case c.snapshotFile != "" && len(c.disks) > 1:
		return exit.Usagef("--snapshot-file is for one disk: %d were given", len(c.disks))
	case c.serial != "" && len(c.disks) > 1:
		return exit.Usagef("--serial gives %d disks one serial number: initiators would take them for one", len(c.disks))
	}
	return nil
}

func (c serveConfig) target(log io.Writer) (target.Config, error) {
	level := slog.LevelWarn
	if c.verbose {
		level = slog.LevelInfo
	}
	cfg := target.Config{
		BufferCount: c.buffers, Workers: c.workers, WildcardReplies: c.wildcardReplies,
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})),
	}
	if err := cfg.WireEdits.UnmarshalText([]byte(c.wireEdits)); err != nil {
		return cfg, exit.Usagef("--%w", err)
	}
	if c.state != "" {
		dir, err := keep.Open(c.state)
		if err != nil {
			return cfg, err
		}
		cfg.Keeper = dir
	}
	return cfg, nil
}

// serve runs until ctx is done.
func serve(ctx context.Context, c serveConfig, stdout, stderr io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	disks, err := c.conf()
	if err != nil {
		return err
	}
	cfg, err := c.target(stderr)
	if err != nil {
		return err
	}
	var reload chan os.Signal
	if c.config != "" && len(reloadSignals) > 0 {
		reload = make(chan os.Signal, 1)
		signal.Notify(reload, reloadSignals...)
		defer signal.Stop(reload)
	}
	return serving.Run(ctx, serving.Config{
		Target: cfg, Interfaces: c.interfaces, Disks: disks, File: c.config, Reload: reload,
		OpenLink: func(name string, st target.Stats) (link.Link, error) {
			return openWith(open.Config{Interface: name, Kind: c.linkKind, Frames: receiveSlots(st), Poll: time.Duration(c.poll)})
		},
		Metrics: c.metrics, RunDir: rundir.Default(), Name: c.name,
		Print: printServed, Out: stdout,
	})
}

// conf is what the command line says of its disks.
func (c serveConfig) conf() ([]conf.Disk, error) {
	mode, err := parseMode(c.mode)
	if err != nil {
		return nil, err
	}
	var all []conf.Disk
	for _, d := range c.disks {
		all = append(all, conf.Disk{
			Addr: d.addr, Path: d.path, Mode: mode, ReadOnly: c.readOnly,
			Offset: int64(c.offset), Length: int64(c.length), Serial: c.serial,
			Snapshot: c.snapshot, SnapshotFile: c.snapshotFile,
		})
	}
	return all, nil
}

// mostSlots of a receive ring are 36 MiB at MTU 9000.
const mostSlots = 4096

// receiveSlots is how many frames a link may have to keep until they are looked
// at: all that its disks advertise to hold, and as many again, which were sent a
// second time (H7).
func receiveSlots(st target.Stats) int {
	n := 0
	for _, d := range st.Disks {
		n += 2 * d.BufferCount
	}
	return min(max(n, ring.DefaultFrames), mostSlots)
}

func parseMode(s string) (target.Mode, error) {
	m, err := target.ParseMode(s)
	if err != nil {
		return 0, exit.Usagef("--mode: %v", err)
	}
	return m, nil
}

// printServed says what is served, where and how large, as vblade does.
func printServed(w io.Writer, st target.Stats) error {
	disks := show.NewTable("", ">", "", "")
	for _, d := range st.Disks {
		how := d.Mode.String()
		if d.ReadOnly {
			how = "read-only"
		} else if d.Volatile {
			how += " without stable storage"
		}
		disks.Row(d.Addr.String(), show.Gigabytes(int64(d.Sectors)*frame.SectorSize), d.Name,
			fmt.Sprintf("%s, serial %s, %d buffers", how, d.Serial, d.BufferCount))
	}
	if err := disks.Print(w); err != nil {
		return err
	}
	links := show.NewTable("", "", "", "")
	for _, l := range st.Links {
		state := fmt.Sprintf("MTU %d, %d sectors in a frame", l.MTU, l.Sectors)
		if !l.Up {
			state += ", down"
		}
		links.Row("on "+l.Name, l.MAC.String(), state)
	}
	return links.Print(w)
}
