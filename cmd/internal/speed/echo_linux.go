package main

import (
	"context"
	"errors"
	"time"

	"aoe/frame/link/echo"
)

// runEcho measures the limit of the link for frames of the workload's sizes.
func runEcho(ctx context.Context, b *bed, w workload, d time.Duration) (s sample, err error) {
	request, reply := w.frameSizes()
	client, err := openRing(b.echo.A)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	server, err := openRing(b.echo.B)
	if err != nil {
		return sample{}, err
	}
	served := make(chan error, 1)
	go func() { // ends when server is closed
		served <- onTargetProcessors(func() error { return echo.Serve(server, echo.Config{Reply: reply}) })
	}()
	defer func() {
		err = errors.Join(err, server.Close(), <-served)
	}()
	r, err := echo.Run(ctx, client, echo.Load{Peer: b.echo.B.MAC, Request: request, Depth: w.depth, For: d})
	return sample{perSecond: r.PerSecond()}, err
}
