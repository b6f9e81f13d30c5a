package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/keep"
	"aoe/cmd/internal/metrics"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/frame/link/ring"
	"aoe/target"
	"aoe/target/store"
)

// A serveConfig is the command line of aoe serve.
type serveConfig struct {
	interfaces []string
	linkKind   string
	disks      []served

	readOnly        bool
	offset, length  sizeFlag
	mode            string
	serial          string
	buffers         int
	workers         int
	state           string
	wireEdits       string
	wildcardReplies int
	metrics         string
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
		Use:   "serve -i INTERFACE... ADDRESS PATH|URI [ADDRESS PATH|URI...]",
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
	f.BoolVarP(&c.readOnly, "read-only", "r", false, "refuse writes")
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
	f.BoolVarP(&c.verbose, "verbose", "v", false, "log disks and links that come, change and go; failures are always logged")
	return cmd
}

// parseServed reads the ADDRESS PATH pairs.
func parseServed(args []string) ([]served, error) {
	if len(args) == 0 || len(args)%2 != 0 {
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
	mode, err := parseMode(c.mode)
	if err != nil {
		return err
	}
	if c.serial != "" && len(c.disks) > 1 {
		return exit.Usagef("--serial gives %d disks one serial number: initiators would take them for one", len(c.disks))
	}
	if len(c.interfaces) == 0 {
		return exit.Usagef("no interface: say -i eth1")
	}
	cfg, err := c.target(stderr)
	if err != nil {
		return err
	}
	s, err := target.New(cfg)
	if err != nil {
		return err
	}
	if err := errors.Join(c.addDisks(s, mode), c.addLinks(s)); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := printServed(stdout, s.Stats()); err != nil {
		return errors.Join(err, s.Close())
	}
	if c.metrics == "" {
		return s.Serve(ctx)
	}
	m, err := metrics.Listen(c.metrics, s.Stats)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if _, err := fmt.Fprintf(stdout, "metrics at http://%s/metrics\n", m.Addr); err != nil {
		return errors.Join(err, m.Close(), s.Close())
	}
	return errors.Join(s.Serve(ctx), m.Close())
}

func (c serveConfig) addDisks(s *target.Server, mode target.Mode) error {
	for _, d := range c.disks {
		st, err := store.Open(store.Config{
			Path: d.path, Offset: int64(c.offset), Length: int64(c.length),
			ReadOnly: c.readOnly, Direct: mode == target.ModeDirect, Durable: mode != target.ModeFlush,
		})
		if err != nil {
			return err
		}
		err = s.AddDisk(target.Disk{Addr: d.addr, Store: st, Mode: mode, ReadOnly: c.readOnly, Serial: c.serial})
		if err != nil {
			return errors.Join(err, st.Close())
		}
	}
	return nil
}

func (c serveConfig) addLinks(s *target.Server) error {
	for _, name := range c.interfaces {
		l, err := openSized(name, c.linkKind, receiveSlots(s.Stats()))
		if err != nil {
			return err
		}
		if err := s.AddLink(l); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return nil
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
