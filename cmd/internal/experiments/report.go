package experiments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"aoe/reserve/model"
)

// A Report is every experiment with what was found, and where.
type Report struct {
	Made    string  `json:"made"` // when
	Version string  `json:"version"`
	Machine string  `json:"machine"`
	Seeds   int     `json:"seeds"`
	First   uint64  `json:"firstSeed"`
	Took    string  `json:"took"`
	Matrix  []Fate  `json:"matrix"`
	Entries []Entry `json:"experiments"`
}

// A Fate is how a policy fares in the experiments that all of them are put to.
type Fate struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Source string `json:"source"`
	Right  string `json:"right"`
	Wrong  string `json:"wrong,omitempty"`

	// Dead states of all, without a flood, under one that is read, and under
	// one that nobody reads.
	Quiet  Share `json:"quiet"`
	Read   Share `json:"read"`
	Unread Share `json:"unread"`
}

// A Share is how many of all states are dead.
type Share struct {
	Dead   int `json:"dead"`
	States int `json:"states"`
}

// An Entry is one experiment of a report.
type Entry struct {
	Experiment
	Result Result `json:"result"`
}

// Make runs experiments. It calls progress, if that is not nil, before each.
func Make(ctx context.Context, chosen []Experiment, o Options, version string, progress func(name string)) (Report, error) {
	if o.Seeds <= 0 {
		o.Seeds = defaultSeeds
	}
	begin := time.Now()
	r := Report{
		Made: begin.UTC().Format("2006-01-02 15:04 MST"), Version: version,
		Machine: fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Seeds:   o.Seeds, First: o.First,
	}
	for _, e := range chosen {
		if progress != nil {
			progress(e.Name)
		}
		result, err := e.Run(ctx, o)
		if err != nil {
			return r, err
		}
		r.Entries = append(r.Entries, Entry{e, result})
	}
	var err error
	r.Matrix, err = matrix(ctx)
	r.Took = time.Since(begin).Round(100 * time.Millisecond).String()
	return r, err
}

// matrix is every policy under every flood.
func matrix(ctx context.Context) ([]Fate, error) {
	fates := make([]Fate, len(model.Lineage()))
	for _, f := range []model.Flood{model.NoFlood, model.ReadSoon, model.Retained} {
		verdicts, err := survey(ctx, f)
		if err != nil {
			return nil, err
		}
		for i, v := range verdicts {
			p, share := v.World.Policy, Share{v.Dead, v.States}
			fate := &fates[i]
			fate.Name, fate.Title, fate.Source, fate.Right, fate.Wrong = p.Name, title(p), p.Source, p.Right, p.Wrong
			switch f {
			case model.NoFlood:
				fate.Quiet = share
			case model.ReadSoon:
				fate.Read = share
			default:
				fate.Unread = share
			}
		}
	}
	return fates, nil
}

// Write puts the report into a directory, which is made if it is not there: as
// index.html, as report.json, and each chart as a picture of its own.
func (r Report) Write(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(text, '\n'), 0o666); err != nil {
		return err
	}
	for _, e := range r.Entries {
		for i, c := range e.Result.Charts {
			svg, err := c.SVG()
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%s-%d.svg", strings.ToLower(e.Name), i+1)
			if err := os.WriteFile(filepath.Join(dir, name), svg, 0o666); err != nil {
				return err
			}
		}
	}
	f, err := os.Create(filepath.Join(dir, "index.html"))
	if err != nil {
		return err
	}
	return errors.Join(r.HTML(f), f.Close())
}
