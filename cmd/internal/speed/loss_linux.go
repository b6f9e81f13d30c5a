package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"aoe/cmd/internal/bench"
	"aoe/frame/link/linktest"
	"aoe/initiator"
)

// losses are the parts of all frames that get lost; the first is what the others
// are compared with.
var losses = []float64{0, 0.01, 0.05}

// lossWorkloads are measured with losses.
var lossWorkloads = []workload{
	{bench.RandRead, 4096, 32},
	{bench.RandWrite, 4096, 32},
	{bench.Read, 8192, 32},
	{bench.RandRead, 4096, 1},
	{bench.RandWrite, 4096, 1},
}

// measureLoss runs our client on our target with and without losses, one after
// the other in each round, and prints the median of the rounds' ratios.
func measureLoss(ctx context.Context, out io.Writer, cfg config) (err error) {
	b, err := newBed(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err = b.serveOurs(oursName, b.dir); err != nil {
		return err
	}
	p := &printer{w: out}
	p.printf("%d rounds of %v. Requests a second without loss, and what is left of it with.\n\n", cfg.rounds, cfg.length)
	p.printf("| workload | no loss |")
	for _, l := range losses[1:] {
		p.printf(" %g %% lost | sent again | in vain |", 100*l)
	}
	p.printf("\n|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, w := range lossWorkloads {
		fmt.Fprintf(os.Stderr, "%v\n", w)
		row, err := lossRow(ctx, b, w)
		if err != nil {
			return fmt.Errorf("%v: %w", w, err)
		}
		p.printf("| %v | %s\n", w, row)
	}
	return p.err
}

// lossRow is the row of one workload.
func lossRow(ctx context.Context, b *bed, w workload) (string, error) {
	rates := make([][]float64, len(losses))
	again, vain, sent := make([]uint64, len(losses)), make([]uint64, len(losses)), make([]uint64, len(losses))
	for round := range b.cfg.rounds {
		for i, loss := range losses {
			rate, st, err := runLossy(ctx, b.processes[oursName], w, b.cfg.length, loss, uint64(round))
			if err != nil {
				return "", err
			}
			rates[i] = append(rates[i], rate)
			again[i], vain[i], sent[i] = again[i]+st.Retransmitted, vain[i]+st.Spurious, sent[i]+st.Sent
		}
	}
	row := fmt.Sprintf("%.1f k |", median(rates[0])/1e3)
	for i := 1; i < len(losses); i++ {
		var ratios []float64
		for round, rate := range rates[i] {
			ratios = append(ratios, rate/rates[0][round])
		}
		of := 100 / float64(max(sent[i], 1))
		row += fmt.Sprintf(" %.0f %% | %.1f %% | %.2f %% |", 100*median(ratios), of*float64(again[i]), of*float64(vain[i]))
	}
	return row, nil
}

// runLossy is what aoe bench does, on a link that loses frames.
func runLossy(ctx context.Context, p *process, w workload, d time.Duration, loss float64, seed uint64) (float64, initiator.Stats, error) {
	faults := linktest.Faults{Loss: loss / 2}
	r, st, err := useDisk(ctx, p, w, d, seed, &linktest.Impairment{Seed: seed, Send: faults, Receive: faults})
	if err == nil {
		_, err = counted(r)
	}
	return r.IOPS, st, err
}
