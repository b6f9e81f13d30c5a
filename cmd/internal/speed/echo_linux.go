package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"aoe/frame/link/echo"
	"aoe/frame/link/open"
	"aoe/target"
)

// runEcho measures the limit of the link for frames of the workload's sizes, as
// many in flight as an initiator may have.
func runEcho(ctx context.Context, b *bed, w workload, d time.Duration) (s sample, err error) {
	request, reply := w.frameSizes()
	client, err := openRing(b.echo.A, open.UsualPoll)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	command, err := roleCommand(echoRole, b.echo.B.Interface, strconv.Itoa(reply))
	if err != nil {
		return sample{}, err
	}
	server, err := startReady(b.echo, asTarget(b.echo), command)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	its, ours := server.cpu, processCPU
	m, err := meterOf(its, ours)
	if err != nil {
		return sample{}, err
	}
	r, err := echo.Run(ctx, client, echo.Load{
		Peer: b.echo.B.MAC, Request: request, For: d, Depth: min(w.depth*w.frames(), target.DefaultBufferCount),
	})
	if err != nil {
		return sample{}, err
	}
	used, err := m.stop()
	n := int64(r.Answers) / int64(w.frames())
	if n == 0 {
		return sample{}, errors.Join(err, errNothing)
	}
	return sample{
		perSecond: r.PerSecond() / float64(w.frames()),
		target:    used[0] / time.Duration(n), client: used[1] / time.Duration(n),
	}, err
}

// processCPU is the processor time of this process so far, user and system.
func processCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// A meter is what several have used of the processor when it was made.
type meter struct {
	of     []func() (time.Duration, error)
	before []time.Duration
}

func meterOf(of ...func() (time.Duration, error)) (*meter, error) {
	m := &meter{of: of}
	before, err := m.read()
	m.before = before
	return m, err
}

func (m *meter) read() ([]time.Duration, error) {
	var all []time.Duration
	for _, f := range m.of {
		d, err := f()
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// stop is what each has used since.
func (m *meter) stop() ([]time.Duration, error) {
	used, err := m.read()
	for i := range used {
		used[i] -= m.before[i]
	}
	return used, err
}
