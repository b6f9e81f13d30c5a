package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"aoe/cmd/internal/bench"
	"aoe/frame"
)

// A sample is what one run of one contestant measured.
type sample struct {
	perSecond float64
	target    time.Duration // processor time of the target per request; 0: not measured
	client    time.Duration // of the client
}

// A contestant runs a workload.
type contestant struct {
	name string
	run  func(ctx context.Context, b *bed, w workload, d time.Duration) (sample, error)
}

// The names are the columns of the table.
const (
	echoName    = "echo"
	plainVblade = "plain on vblade"
	plainAoe    = "plain on aoe"
	benchVblade = "aoe on vblade"
	benchAoe    = "aoe on aoe"
)

var contestants = []contestant{
	{echoName, runEcho},
	{plainVblade, runPlain.on(theirs)},
	{plainAoe, runPlain.on(ours)},
	{benchVblade, runBench.on(theirs)},
	{benchAoe, runBench.on(ours)},
}

func ours(b *bed) *target   { return b.ours }
func theirs(b *bed) *target { return b.vblade }

// A client runs a workload against a target and returns how many requests were
// answered, in what time, at what cost.
type client func(ctx context.Context, b *bed, t *target, w workload, d time.Duration) (count, error)

type count struct {
	requests uint64
	took     time.Duration
	cpu      time.Duration // per request; 0: not measured
}

// on adds the target's processor time to what a client measures.
func (run client) on(which func(*bed) *target) func(context.Context, *bed, workload, time.Duration) (sample, error) {
	return func(ctx context.Context, b *bed, w workload, d time.Duration) (sample, error) {
		t := which(b)
		before, err := t.cpu()
		if err != nil {
			return sample{}, err
		}
		n, err := run(ctx, b, t, w, d)
		if err != nil {
			return sample{}, err
		}
		after, err := t.cpu()
		if err != nil {
			return sample{}, err
		}
		if n.requests == 0 {
			return sample{}, errors.New("no request was answered")
		}
		return sample{
			perSecond: float64(n.requests) / n.took.Seconds(),
			target:    (after - before) / time.Duration(n.requests),
			client:    n.cpu,
		}, nil
	}
}

// seed of the offsets: the same for every contestant.
const seed = 1

// runBench is `aoe bench` as a process.
var runBench client = func(ctx context.Context, b *bed, t *target, w workload, d time.Duration) (count, error) {
	cmd := t.pair.A.Command(b.binary, "bench", "-i", t.pair.A.Interface, "--json", "--rw", string(w.pattern),
		"--bs", strconv.Itoa(w.size), "--depth", strconv.Itoa(w.depth), "--time", d.String(),
		"--seed", strconv.Itoa(seed), "--destroy-data", diskAddr)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return count{}, fmt.Errorf("%w: %s", err, out)
	}
	var r bench.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return count{}, err
	}
	if r.Errors > 0 {
		return count{}, fmt.Errorf("%d of %d requests failed", r.Errors, r.Requests)
	}
	return count{r.Requests, r.Took, r.CPU}, ctx.Err()
}

// frameSizes are those of the two directions of a workload.
func (w workload) frameSizes() (request, reply int) {
	small, large := frame.MinLen, frame.ATADataOffset+w.size
	if w.pattern.Writes() {
		return large, small
	}
	return small, large
}
