package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"aoe/cmd/internal/live"
	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator"
)

// A NewcomerConfig describes the run that shows everything.
type NewcomerConfig struct {
	Config
	// Tree is what is copied: see FindTree.
	Tree string
	// Faults of the step that has them. The zero value means 5 % of all frames
	// lost, duplicated and reordered.
	Faults linktest.Faults
	// Flood is the rate of the step that has one, at each host. Zero means
	// 5000 frames a second; negative is refused.
	Flood int
	// Ops is how many reads and writes each of the workers does against the
	// model, in either of the steps that do. Zero means 100; negative is refused.
	Ops int
	// Progress is told how the run goes. Nil means Quiet.
	Progress Progress
}

// The defaults of a NewcomerConfig.
const (
	defaultFaults = 0.05
	defaultFlood  = 5000
	defaultOps    = 100
)

func (c NewcomerConfig) withDefaults() (NewcomerConfig, error) {
	if c.Faults == (linktest.Faults{}) {
		c.Faults = linktest.Faults{Loss: defaultFaults, Duplicate: defaultFaults, Reorder: defaultFaults}
	}
	if c.Flood == 0 {
		c.Flood = defaultFlood
	}
	if c.Ops == 0 {
		c.Ops = defaultOps
	}
	if c.Flood < 0 || c.Ops < 0 {
		return c, fmt.Errorf("lab: flood of %d frames a second, %d operations: want more than 0", c.Flood, c.Ops)
	}
	if c.Progress == nil {
		c.Progress = Quiet()
	}
	var err error
	c.Config, err = c.Config.withDefaults()
	return c, err
}

// modelSpan is how much of the disk is compared with the model, in bytes: no
// more than that, and no more than a quarter of the disk.
const modelSpan = 64 << 20

func (r *run) modelSpan() int64 { return min(modelSpan, r.cfg.Size/4) }

// modelWorkers read and write at once.
const modelWorkers = 8

// A run is one Newcomer.
type run struct {
	cfg      NewcomerConfig
	lab      *Lab
	tree     string
	manifest Manifest
	report   Report

	// Of the step being done:
	row Row
}

// A step is one line of the report.
type step struct {
	name  string
	bytes func(*run) int64 // that it will move, for the progress; nil: unknown
	do    func(*run, context.Context) error
}

// steps are the run, in order. Each fills in r.row.Did, and Bytes and Frames
// where it has some.
func steps() []step {
	return []step{
		{"network", nil, (*run).network},
		{"attach", nil, (*run).attach},
		{"mkfs", nil, (*run).mkfs},
		{"copy", (*run).treeBytes, (*run).copy},
		{"reattach", nil, (*run).reattach},
		{"verify", (*run).treeBytes, (*run).verify},
		{"fsck", nil, (*run).fsck},
		{"bad cable", (*run).modelBytes, (*run).badCable},
		{"no memory", (*run).modelBytes, (*run).noMemory},
	}
}

// Newcomer serves, attaches, makes a file system, copies a tree, attaches again
// and verifies it, then reads and writes on a bad cable, and without memory under
// a flood. The report says whether all of it held; the error is why the run
// ended, if it could not be begun, or was interrupted.
func Newcomer(ctx context.Context, cfg NewcomerConfig) (Report, error) {
	return newcomer(ctx, cfg, steps())
}

func newcomer(ctx context.Context, cfg NewcomerConfig, steps []step) (Report, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Report{}, err
	}
	r := &run{cfg: cfg, report: Report{Seed: cfg.Seed, OK: true}}
	if err := checkTools(); err != nil {
		return r.report, err
	}
	if r.tree, err = FindTree(cfg.Tree); err != nil {
		return r.report, err
	}
	// Half of the image is for what a file system needs for itself.
	if r.manifest, err = Survey(ctx, r.tree, cfg.Size/2); err != nil {
		return r.report, err
	}
	began := time.Now()
	for _, s := range steps {
		if !r.step(ctx, s) {
			break
		}
	}
	// Always, and with its own time: nothing is left behind.
	r.step(context.WithoutCancel(ctx), step{"clean up", nil, (*run).cleanUp})
	r.report.Took = time.Since(began)
	return r.report, ctx.Err()
}

// step does one step, and reports whether it held.
func (r *run) step(ctx context.Context, s step) bool {
	total := int64(0)
	if s.bytes != nil {
		total = s.bytes(r)
	}
	r.cfg.Progress.Begin(s.name, total)
	r.cfg.Page.Begin(s.name)
	r.row = Row{Step: s.name}
	began := time.Now()
	err := s.do(r, ctx)
	if r.row.Took == 0 {
		r.row.Took = time.Since(began)
	}
	r.row.OK = err == nil
	if err != nil {
		r.row.Error = err.Error()
		r.report.OK = false
	}
	r.report.Rows = append(r.report.Rows, r.row)
	r.cfg.Progress.End(r.row)
	r.cfg.Page.End(live.Step{Name: r.row.Step, Did: r.row.Did, Took: r.row.Took, OK: r.row.OK, Why: r.row.Error})
	return err == nil
}

func (r *run) treeBytes() int64 { return r.manifest.Bytes }

// modelBytes is about what a model check will move: half of the longest request
// on average, and the last look at everything.
func (r *run) modelBytes() int64 {
	return int64(modelWorkers)*int64(r.cfg.Ops)*maxModelBlocks/2*modelBlock + r.modelSpan()
}

func (r *run) network(ctx context.Context) (err error) {
	r.lab, err = New(ctx, r.cfg.Config)
	if err != nil {
		return err
	}
	st := r.lab.server.Stats()
	r.row.Did = fmt.Sprintf("2 hosts, a cable of MTU %d, %s of %s served", r.cfg.MTU, Addr,
		show.Bytes(int64(st.Disks[0].Sectors)*frame.SectorSize))
	return nil
}

func (r *run) attach(ctx context.Context) error {
	if err := r.lab.Attach(ctx, Conditions{}); err != nil {
		return err
	}
	r.row.Did = r.lab.Device()
	return nil
}

func (r *run) mkfs(ctx context.Context) error {
	r.row.Did = "ext4"
	return r.counted(func() error { return r.lab.tool(ctx, "mkfs.ext4", "-q", "-F", r.lab.Device()) })
}

// counted does f and notes what became of the frames meanwhile.
func (r *run) counted(f func() error) error {
	before := r.lab.Stats()
	err := f()
	r.row.Frames = framesBetween(before, r.lab.Stats())
	return err
}

func (r *run) copy(ctx context.Context) error {
	return r.counted(func() error {
		dir, err := r.lab.Mount(ctx, "noatime")
		if err != nil {
			return err
		}
		done, err := r.lab.work(ctx, job{Copy: &copyJob{r.tree, treeJob{dir, r.manifest}}}, r.cfg.Progress.Add)
		if err != nil {
			return err // unmounted by Close
		}
		r.manifest = done.Manifest
		// The time of writing it out belongs to the copy.
		if err := r.lab.Unmount(ctx); err != nil {
			return err
		}
		r.row.Bytes = r.manifest.Bytes
		r.row.Did = fmt.Sprintf("%d files, %s, of %s", len(r.manifest.Files), show.Bytes(r.manifest.Bytes), r.tree)
		return nil
	})
}

func (r *run) reattach(ctx context.Context) error {
	if err := r.lab.Detach(ctx); err != nil {
		return err
	}
	if err := r.lab.Attach(ctx, Conditions{}); err != nil {
		return err
	}
	r.row.Did = "detached, and attached as " + r.lab.Device()
	return nil
}

func (r *run) verify(ctx context.Context) error {
	return r.counted(func() error {
		dir, err := r.lab.Mount(ctx, "ro,noatime")
		if err != nil {
			return err
		}
		if _, err := r.lab.work(ctx, job{Verify: &treeJob{dir, r.manifest}}, r.cfg.Progress.Add); err != nil {
			return err
		}
		if err := r.lab.Unmount(ctx); err != nil {
			return err
		}
		r.row.Bytes = r.manifest.Bytes
		r.row.Did = fmt.Sprintf("SHA-256 of %d files", len(r.manifest.Files))
		return nil
	})
}

func (r *run) fsck(ctx context.Context) error {
	r.row.Did = "e2fsck -f finds nothing"
	err := r.counted(func() error { return r.lab.tool(ctx, "e2fsck", "-f", "-n", r.lab.Device()) })
	if err != nil {
		r.row.Did = "e2fsck -f"
		return err
	}
	return r.lab.Detach(ctx)
}

// badCable reads and writes while frames are lost, duplicated and reordered.
func (r *run) badCable(ctx context.Context) error {
	f := r.cfg.Faults
	r.row.Did = fmt.Sprintf("%s lost, %s doubled, %s reordered", percent(f.Loss), percent(f.Duplicate), percent(f.Reorder))
	st, err := r.model(ctx, Conditions{Faults: f})
	if err == nil && f.Loss > 0 && st.Retransmitted == 0 {
		err = errors.New("lab: not one frame had to be sent again: the cable was not bad")
	}
	return err
}

// noMemory reads and writes while every ordinary allocation fails, under a
// flood at both hosts.
func (r *run) noMemory(ctx context.Context) error {
	r.row.Did = fmt.Sprintf("reserve only, %d foreign and forged frames/s", 2*r.cfg.Flood)
	c := Conditions{ReserveOnly: true, Flood: r.cfg.Flood}
	st, err := r.model(ctx, c)
	if err != nil {
		return err
	}
	switch {
	case st.Reserve.FromReserve == 0 || st.Reserve.NormalAllocations > 0:
		err = fmt.Errorf("lab: %d claims came from the reserve and %d buffers from ordinary memory: the reserve did not carry it",
			st.Reserve.FromReserve, st.Reserve.NormalAllocations)
	case st.Drops.Tag == 0:
		err = errors.New("lab: not one forged reply arrived: there was no flood")
	}
	if s := r.lab.server.Stats().Disks[0].Settings; len(s.ConfigString)+len(s.Mask)+len(s.Reserve) > 0 {
		err = errors.Join(err, fmt.Errorf("lab: a stranger's edit was carried out: %+v", s))
	}
	return err
}

// model checks the disk against a model of it, attached under the given
// conditions for as long as that takes, and returns the disk's counters.
func (r *run) model(ctx context.Context, c Conditions) (st initiator.Stats, err error) {
	if err := r.lab.Attach(ctx, c); err != nil {
		return st, err
	}
	began := time.Now()
	done, err := r.lab.work(ctx, job{Model: &modelJob{
		Device: r.lab.Device(), SizeBytes: r.modelSpan(), Seed: r.cfg.Seed, Ops: r.cfg.Ops,
	}}, r.cfg.Progress.Add)
	r.row.Took, r.row.Bytes = time.Since(began), done.Model.Bytes
	st = r.lab.Stats()
	r.row.Frames = framesBetween(initiator.Stats{}, st)
	attack := r.lab.attack
	err = errors.Join(err, r.lab.Detach(ctx))
	if attack != nil {
		r.report.Flooded = attack.Sent
	}
	return st, err
}

// cleanUp removes everything, and looks whether it is gone.
func (r *run) cleanUp(ctx context.Context) error {
	r.row.Did = "hosts, disk, image and mounts are gone"
	if r.lab == nil {
		return nil
	}
	err := r.lab.Close(ctx)
	if _, statErr := os.Stat(r.lab.dir); statErr == nil {
		err = errors.Join(err, fmt.Errorf("lab: %s is still there", r.lab.dir))
	}
	return err
}

func percent(p float64) string { return fmt.Sprintf("%g %%", 100*p) }
