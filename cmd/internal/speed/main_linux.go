package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A config is the command line.
type config struct {
	tables     []suite
	rounds     int
	length     time.Duration
	loss       bool
	imageBytes int64
	dir        string // for what has to be on a disk
	pin        string // auto, yes or no
	aoe        string // the program; empty: it is built
}

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == roleWord {
		return playRole(args[1:])
	}
	cfg, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(cfg.tables) > 1 {
		return eachAlone(cfg.tables, args)
	}
	s := cfg.tables[0]
	if err := enter(cfg.pins(s)); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if cfg.loss {
		return measureLoss(ctx, os.Stdout, cfg)
	}
	if err := measure(ctx, os.Stdout, cfg, s); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// eachAlone measures each table in a process of its own, because what it may run
// on is settled when it starts.
func eachAlone(tables []suite, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, s := range tables {
		cmd := exec.CommandContext(ctx, self, append(slices.Clone(args), "-table", s.name)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it has things to undo
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// pins reports whether the processes of a table are bound to processors.
func (c config) pins(s suite) bool {
	if c.pin == "auto" {
		return !s.spread
	}
	return c.pin == "yes"
}

func parse(args []string) (cfg config, err error) {
	f := flag.NewFlagSet("speed", flag.ContinueOnError)
	names := titles(suites, func(s suite) string { return s.name })
	tables := f.String("table", pathSuite.name, "which tables: "+strings.Join(names, ", ")+", with commas in between; or all")
	f.IntVar(&cfg.rounds, "rounds", 5, "how often each contestant runs each workload")
	f.DurationVar(&cfg.length, "time", 800*time.Millisecond, "how long each run takes")
	only := f.String("only", "", "run only the workloads whose name contains this, \"depth 1\"")
	f.BoolVar(&cfg.loss, "loss", false, "measure our client on a cable that loses frames, and nothing else")
	// Large enough that requests at random offsets rarely overlap, small enough
	// for tmpfs.
	f.Int64Var(&cfg.imageBytes, "size", 256<<20, "bytes of each disk, a multiple of 1 MiB")
	f.StringVar(&cfg.dir, "dir", "/var/tmp", "directory on a disk, for what is to be on one")
	f.StringVar(&cfg.pin, "pin", "auto", "give clients the first processor and targets the others: yes, no, or auto, as is right for the table")
	f.StringVar(&cfg.aoe, "aoe", "", "the aoe to measure (default: it is built)")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	if cfg.rounds < 1 || cfg.length < time.Millisecond || cfg.imageBytes < 1<<20 || cfg.imageBytes%(1<<20) != 0 || f.NArg() > 0 {
		return cfg, errors.New("want at least one round of 1 ms, disks of whole MiB, and nothing but flags")
	}
	if !slices.Contains([]string{"auto", "yes", "no"}, cfg.pin) {
		return cfg, fmt.Errorf("-pin %q: want auto, yes or no", cfg.pin)
	}
	if *tables == "all" {
		*tables = strings.Join(names, ",")
	}
	for name := range strings.SplitSeq(*tables, ",") {
		i := slices.Index(names, strings.TrimSpace(name))
		if i < 0 {
			return cfg, fmt.Errorf("no table %q: want %s, or all", name, strings.Join(names, ", "))
		}
		s := suites[i]
		s.workloads = slices.DeleteFunc(slices.Clone(s.workloads), func(w workload) bool {
			return !strings.Contains(w.String()+",", *only)
		})
		if len(s.workloads) == 0 {
			return cfg, fmt.Errorf("-only %q leaves nothing of %s", *only, s.name)
		}
		cfg.tables = append(cfg.tables, s)
	}
	return cfg, nil
}

// measure measures one table and prints it.
func measure(ctx context.Context, out io.Writer, cfg config, s suite) (err error) {
	b, err := newBed(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := s.build(b); err != nil {
		return err
	}
	t := newTable(s)
	for round := range cfg.rounds {
		for i, w := range s.workloads {
			fmt.Fprintf(os.Stderr, "%s, round %d of %d: %v\n", s.name, round+1, cfg.rounds, w)
			for _, c := range s.contestants {
				if b.settle != nil {
					if err := b.settle(); err != nil {
						return err
					}
				}
				got, err := c.run(ctx, b, w, cfg.length)
				if err != nil {
					return fmt.Errorf("%s, %v: %w", c.name, w, err)
				}
				t.add(i, c.name, got)
			}
		}
	}
	t.lost = b.lost
	if s.memory != "" {
		t.peak = b.processes[s.memory].peakMemory()
	}
	return t.print(out, conditions(cfg))
}
