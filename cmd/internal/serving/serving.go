// Package serving is aoe serve: it starts a target with what the command line and
// the file of --config say, follows the file, answers on the control socket, and
// tells systemd how it fares.
package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"aoe/cmd/internal/conf"
	"aoe/cmd/internal/control"
	"aoe/cmd/internal/inventory"
	"aoe/cmd/internal/metrics"
	"aoe/cmd/internal/rundir"
	"aoe/frame/link"
	"aoe/target"
)

// Config says what to serve.
type Config struct {
	// Target is of the server. Its Log is required.
	Target target.Config
	// Interfaces and Disks of the command line.
	Interfaces []string
	Disks      []conf.Disk
	// File of further interfaces and disks. Empty is none.
	File string
	// OpenLink opens an interface for a target that is so.
	OpenLink func(name string, st target.Stats) (link.Link, error)
	// Reload has the file read again. Nil never does.
	Reload <-chan os.Signal
	// Metrics is the address to serve counters at. Empty serves none.
	Metrics string
	// RunDir is where the control socket is, and Name what it is called. An
	// empty Name takes the first that is free, and if there can be no socket
	// serves without one.
	RunDir rundir.Dir
	Name   string
	// Print tells on Out what is served, once that is so.
	Print func(io.Writer, target.Stats) error
	Out   io.Writer
}

// A service is a target that is being served.
type service struct {
	cfg       Config
	log       *slog.Logger
	server    *target.Server
	inventory *inventory.Inventory
	closers   []io.Closer // the last first

	reloading sync.Mutex // one at a time tells systemd
}

// Run serves until ctx is done. It returns when everything received has been
// answered and synced.
func Run(ctx context.Context, cfg Config) error {
	s := &service{cfg: cfg, log: cfg.Target.Log}
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	var followers sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	followers.Go(func() { s.followSignals(ctx) })
	followers.Go(func() { s.feedWatchdog(ctx) })
	followers.Go(func() {
		<-ctx.Done()
		s.notify(stopping)
	})
	s.notify(ready, s.status())
	err := s.server.Serve(ctx)
	stop()
	followers.Wait()
	return errors.Join(err, s.close())
}

// close ends what start has begun, the last first. The server closes twice
// without harm.
func (s *service) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i].Close())
	}
	return errors.Join(errs...)
}

func (s *service) start(ctx context.Context) (err error) {
	if s.server, err = target.New(s.cfg.Target); err != nil {
		return err
	}
	s.inventory = inventory.New(s.server, func(name string) (link.Link, error) {
		return s.cfg.OpenLink(name, s.server.Stats())
	})
	// It is closed by Serve too, which tells what went wrong.
	s.closers = append(s.closers, quiet{s.server})
	if err := s.populate(ctx); err != nil {
		return err
	}
	if err := s.cfg.Print(s.cfg.Out, s.server.Stats()); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	if s.cfg.Metrics == "" {
		return nil
	}
	m, err := metrics.Listen(s.cfg.Metrics, s.server.Stats)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, m)
	_, err = fmt.Fprintf(s.cfg.Out, "metrics at http://%s/metrics\n", m.Addr)
	return err
}

// quiet is a server that has been closed by Serve.
type quiet struct{ server *target.Server }

// Close closes the server if Serve has not. The error of a close that Serve has
// made is Serve's to return.
func (q quiet) Close() error {
	_ = q.server.Close()
	return nil
}

// populate serves what is to be served at first. Disks come before interfaces,
// whose receive rings are made for them.
func (s *service) populate(ctx context.Context) error {
	for _, d := range s.cfg.Disks {
		if err := s.inventory.AddDisk(d, inventory.CommandLine); err != nil {
			return err
		}
	}
	for _, name := range s.cfg.Interfaces {
		if err := s.inventory.AddInterface(name, inventory.CommandLine); err != nil {
			return err
		}
	}
	if s.cfg.File == "" {
		return nil
	}
	f, err := conf.Read(s.cfg.File)
	if err != nil {
		return err
	}
	if _, err := s.inventory.Apply(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", s.cfg.File, err)
	}
	return nil
}

// listen answers on the control socket. A target that was not given a name serves
// on without one, where there can be none.
func (s *service) listen() error {
	t := control.Target{Name: s.cfg.Name, Server: s.server, Inventory: s.inventory, Config: s.cfg.File}
	if s.cfg.File != "" {
		t.Reload = s.reload
	}
	c, err := control.Listen(s.cfg.RunDir, t)
	if err != nil {
		if s.cfg.Name != "" {
			return err
		}
		s.log.Warn("no control socket: aoe target will not find this target", "error", err.Error())
		return nil
	}
	s.log.Info("control socket", "name", c.Name)
	s.closers = append(s.closers, c)
	return nil
}

// reloadTimeout is how long stores that are removed may take altogether.
const reloadTimeout = time.Minute

func (s *service) followSignals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.cfg.Reload:
			ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
			_, _ = s.reload(ctx) // the log tells
			cancel()
		}
	}
}

// reload reads the file and serves what it says. If it cannot, the log tells too,
// because nobody waits for what a signal did.
func (s *service) reload(ctx context.Context) (inventory.Counts, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.notify(reloading()...)
	defer func() { s.notify(ready, s.status()) }()
	f, err := conf.Read(s.cfg.File)
	if err != nil {
		s.log.Error("reading the configuration again failed: nothing is changed", "error", err.Error())
		return inventory.Counts{}, err
	}
	n, err := s.inventory.Apply(ctx, f)
	if err != nil {
		s.log.Error("applying the configuration failed", "file", s.cfg.File, "error", err.Error())
		return n, err
	}
	s.log.Info("configuration read again", "file", s.cfg.File, "disksAdded", n.Added, "disksChanged", n.Changed,
		"disksServedAnew", n.ServedAnew, "disksRemoved", n.Removed, "linksAdded", n.LinksAdded, "linksRemoved", n.LinksRemoved)
	return n, nil
}
