package echo_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/echo"
	"aoe/frame/link/linktest"
)

var (
	macA = frame.MAC{2, 0, 0, 0, 0, 1}
	macB = frame.MAC{2, 0, 0, 0, 0, 2}
)

// serve answers at b until the test ends.
func serve(t *testing.T, b link.Link, cfg echo.Config) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- echo.Serve(b, cfg) }()
	t.Cleanup(func() {
		b.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestEveryRequestIsAnswered(t *testing.T) {
	for _, depth := range []int{0, 1, 7, 200} {
		// On a fake clock, so that a slow machine loses no request.
		synctest.Test(t, func(t *testing.T) {
			sw := linktest.NewSwitch(linktest.Config{MTU: 9000, Faults: linktest.Faults{Delay: time.Microsecond}})
			a, b := sw.Port(macA), sw.Port(macB)
			serve(t, b, echo.Config{Reply: 4096 + frame.ATADataOffset})
			r, err := echo.Run(t.Context(), a, echo.Load{Peer: macB, Depth: depth, Count: 1000})
			if err != nil || r.Answers < 1000 || r.Lost != 0 || r.PerSecond() <= 0 {
				t.Errorf("depth %d: %+v, %v", depth, r, err)
			}
			s := a.Stats()
			if s.Sent < s.Received || s.Sent > s.Received+uint64(max(depth, 1)) {
				t.Errorf("depth %d: stats %+v: want no more in flight than that", depth, s)
			}
			if s.ReceivedBytes != s.Received*(4096+frame.ATADataOffset) || s.SentBytes != s.Sent*frame.MinLen {
				t.Errorf("depth %d: stats %+v: want requests of 60 and replies of 4132 bytes", depth, s)
			}
		})
	}
}

// A reply answers the request it has the tag and the address of.
func TestAReplyIsAnAnswer(t *testing.T) {
	sw := linktest.NewSwitch(linktest.Config{})
	a, b := sw.Port(macA), sw.Port(macB)
	serve(t, b, echo.Config{})
	q := frame.Header{Dst: frame.Broadcast, Src: macA, Addr: frame.Addr{Shelf: 7, Slot: 3}, Tag: 0x1234}
	r := q
	r.Flags = frame.FlagResponse
	a.Send([][]byte{frame.Pad(r.Append(nil)), {1, 2, 3}, frame.Pad(q.Append(nil))})
	bufs := [][]byte{make([]byte, 100)}
	if n, err := a.Recv(bufs, 10*time.Second); n != 1 || err != nil {
		t.Fatalf("Recv = %d, %v", n, err)
	}
	got, _, err := frame.Parse(bufs[0])
	want := frame.Header{Dst: macA, Src: macB, Version: frame.Version, Flags: frame.FlagResponse, Addr: q.Addr, Tag: q.Tag}
	if err != nil || got != want {
		t.Errorf("answer %+v, %v; want %+v", got, err, want)
	}
	if n, _ := a.Recv(bufs, 0); n != 0 {
		t.Errorf("a response was answered with %x", bufs[0])
	}
}

func TestLossIsCountedAndOutlived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := linktest.NewSwitch(linktest.Config{Seed: 1, Faults: linktest.Faults{Loss: 0.1, Delay: time.Millisecond}})
		a, b := sw.Port(macA), sw.Port(macB)
		serve(t, b, echo.Config{})
		r, err := echo.Run(t.Context(), a, echo.Load{Peer: macB, Depth: 4, For: 10 * time.Second})
		if err != nil || r.Lost == 0 || r.Answers < 10*r.Lost/4 || r.Elapsed < 10*time.Second || r.Elapsed > 11*time.Second {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestARunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := linktest.NewSwitch(linktest.Config{})
		a := sw.Port(macA) // nobody answers
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := echo.Run(ctx, a, echo.Load{Peer: macB, For: time.Hour})
		if !errors.Is(err, context.DeadlineExceeded) || r.Answers != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	sw := linktest.NewSwitch(linktest.Config{})
	a := sw.Port(macA)
	if err := echo.Serve(a, echo.Config{Reply: 1515}); err == nil || !strings.Contains(err.Error(), "1514") {
		t.Errorf("Serve: %v", err)
	}
	if _, err := echo.Run(t.Context(), a, echo.Load{Request: 10}); err == nil {
		t.Error("Run sends frames shorter than their header")
	}
}

func TestI10NothingIsAllocatedPerFrame(t *testing.T) {
	sw := linktest.NewSwitch(linktest.Config{})
	a, b := sw.Port(macA), sw.Port(macB)
	serve(t, b, echo.Config{})
	run := func(count uint64) float64 {
		return testing.AllocsPerRun(5, func() {
			if _, err := echo.Run(t.Context(), a, echo.Load{Peer: macB, Depth: 8, Count: count}); err != nil {
				t.Fatal(err)
			}
		})
	}
	run(100) // the switch makes its buffers
	if few, many := run(10), run(1000); many > few+5 {
		t.Errorf("10 frames: %v allocations, 1000 frames: %v", few, many)
	}
}
