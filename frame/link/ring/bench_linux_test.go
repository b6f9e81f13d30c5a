package ring

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
)

// BenchmarkEcho is the limit of what two processes of ours can do on one cable:
// small requests answered by frames of the given size, nothing in between.
//
//	go test -run '^$' -bench Echo ./frame/link/ring
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{4096, 8192} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("reply=%d/depth=%d", size, depth), func(b *testing.B) {
				benchmarkEcho(b, frame.ATADataOffset+size, depth)
			})
		}
	}
}

func benchmarkEcho(b *testing.B, size, depth int) {
	pair := vethtest.New(b, veth.Config{MTU: 9000})
	x, y := openOn(b, pair.A, Config{}), openOn(b, pair.B, Config{})
	done := make(chan error)
	go func() { done <- echo(y, pair.A.MAC, size) }() // ends when y is closed
	bufs := make([][]byte, 64)
	for i := range bufs {
		bufs[i] = make([]byte, 9216)
	}
	request := make([]byte, frame.MinLen)
	frame.Header{Dst: pair.B.MAC, Src: pair.A.MAC}.Append(request[:0])
	batch := make([][]byte, depth)
	for i := range batch {
		batch[i] = request
	}
	b.ReportAllocs()
	b.ResetTimer()
	for in, out := 0, 0; in < b.N; {
		n := min(depth-(out-in), b.N-out)
		if n > 0 {
			if _, err := x.Send(batch[:n]); err != nil {
				b.Fatal(err)
			}
			out += n
		}
		n, err := x.Recv(bufs, 10*time.Second)
		if n == 0 {
			b.Fatalf("no answer: %v, %+v %+v", err, x.Stats(), y.Stats())
		}
		in += n
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echo/s")
	y.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		b.Fatal(err)
	}
}

// echo answers every frame with one of the given size.
func echo(l *Link, to frame.MAC, size int) error {
	bufs, out := make([][]byte, 64), make([][]byte, 64)
	for i := range bufs {
		bufs[i] = make([]byte, 9216)
		out[i] = make([]byte, size)
		frame.Header{Dst: to, Src: l.State().MAC}.Append(out[i][:0])
	}
	for {
		n, err := l.Recv(bufs, -1)
		if err != nil {
			return err
		}
		if _, err := l.Send(out[:n]); err != nil {
			return err
		}
	}
}
