package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"aoe/cmd/internal/bench"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"
	"aoe/frame/link/open"
	"aoe/initiator"
)

// A sample is what one run of one contestant measured. Processor times are per
// request; 0: not measured, or nobody was there.
type sample struct {
	perSecond float64
	target    time.Duration
	front     time.Duration // of what is between the target and the client
	client    time.Duration

	// The same in detail, of those that are processes of their own.
	targetUse, frontUse, clientUse usage
}

// A contestant runs a workload.
type contestant struct {
	name string
	run  func(ctx context.Context, b *bed, w workload, d time.Duration) (sample, error)
}

// A client runs a workload against a process, and returns how many requests
// were answered, in what time, at what cost.
type client func(ctx context.Context, b *bed, p *process, w workload, d time.Duration) (count, error)

type count struct {
	requests uint64
	took     time.Duration
	cpu      time.Duration // per request
	lost     uint64        // requests that were never answered
	use      usage         // per request, of a client that is a process; without calls
}

var errNothing = errors.New("no request was answered")

// on makes a contestant of a client and the target of that name.
func (run client) on(name, target string) contestant { return run.through(name, "", target) }

// through makes a contestant of a client, what it uses to get to a target, and
// the target. A name that is empty is nobody.
func (run client) through(name, front, target string) contestant {
	return contestant{name, func(ctx context.Context, b *bed, w workload, d time.Duration) (sample, error) {
		f, t := b.processes[front], b.processes[target]
		before, err := usages(t, f)
		if err != nil {
			return sample{}, err
		}
		p := f
		if p == nil {
			p = t
		}
		n, err := run(ctx, b, p, w, d)
		if err != nil {
			return sample{}, err
		}
		b.lost[name] += n.lost
		after, err := usages(t, f)
		if err != nil {
			return sample{}, err
		}
		if n.requests == 0 {
			return sample{}, errNothing
		}
		ofTarget, ofFront := after[0].since(before[0], n.requests), after[1].since(before[1], n.requests)
		return sample{
			perSecond: float64(n.requests) / n.took.Seconds(),
			target:    ofTarget.user + ofTarget.system, front: ofFront.user + ofFront.system, client: n.cpu,
			targetUse: ofTarget, frontUse: ofFront, clientUse: n.use,
		}, nil
	}}
}

// usages are those of two processes.
func usages(a, b *process) (both [2]usage, err error) {
	for i, p := range []*process{a, b} {
		if both[i], err = p.usage(); err != nil {
			return both, err
		}
	}
	return both, nil
}

// seed of the offsets: the same for every contestant.
const seed = 1

// runBench is `aoe bench` as a process, runBenchAsleep one that sleeps at once when
// there is no answer.
var (
	runBench       = benchWith()
	runBenchAsleep = benchWith(noPoll...)
)

var noPoll = []string{"--poll", "0"}

// benchWith is `aoe bench` with the flags.
func benchWith(flags ...string) client {
	return func(ctx context.Context, b *bed, p *process, w workload, d time.Duration) (count, error) {
		host := p.pair.A
		cmd := b.command(host, slices.Concat([]string{"bench", "-i", host.Interface, "--json", "--rw", string(w.pattern),
			"--bs", strconv.Itoa(w.size), "--depth", strconv.Itoa(w.depth), "--time", d.String(),
			"--seed", strconv.Itoa(seed), "--destroy-data", diskAddr}, flags)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return count{}, fmt.Errorf("%w: %s", err, out)
		}
		var r bench.Result
		if err := json.Unmarshal(out, &r); err != nil {
			return count{}, err
		}
		n, err := counted(r)
		return n, errors.Join(err, ctx.Err())
	}
}

// runLibrary is what `aoe bench` does, in this process.
var runLibrary client = func(ctx context.Context, _ *bed, p *process, w workload, d time.Duration) (count, error) {
	r, _, err := useDisk(ctx, p, w, d, seed, nil)
	if err != nil {
		return count{}, err
	}
	return counted(r)
}

// useDisk opens a disk, on a link that is impaired if there is an impairment, and
// runs a workload on it.
func useDisk(ctx context.Context, p *process, w workload, d time.Duration, seed uint64, worse *linktest.Impairment) (r bench.Result, st initiator.Stats, err error) {
	addr, err := frame.ParseAddr(diskAddr)
	if err != nil {
		return r, st, err
	}
	var l link.Link
	if l, err = openRing(p.pair.A, open.UsualPoll); err != nil {
		return r, st, err
	}
	if worse != nil {
		l = linktest.Impair(l, *worse)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	disk, err := initiator.Open(ctx, initiator.Config{Link: l, Addr: addr, Depth: w.depth})
	if err != nil {
		return r, st, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	r, err = bench.Run(ctx, bench.Config{
		Disk: disk, Pattern: w.pattern, BlockSize: w.size, Depth: w.depth, Duration: d, Seed: seed,
	})
	return r, disk.Stats(), err
}

func counted(r bench.Result) (count, error) {
	if r.Errors > 0 {
		return count{}, fmt.Errorf("%d of %d requests failed", r.Errors, r.Requests)
	}
	return count{requests: r.Requests, took: r.Took, cpu: r.CPU}, nil
}
