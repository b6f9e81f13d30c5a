package ring

import (
	"fmt"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/echo"
	"aoe/frame/link/raw"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/sys/unix"
)

// The links that are compared.
var contestants = []struct {
	name string
	open func(ifname string) (link.Link, error)
}{
	{"ring", func(ifname string) (link.Link, error) { return Open(Config{Interface: ifname}) }},
	{"recvmmsg", openQueue},
	{"raw", func(ifname string) (link.Link, error) { return raw.Open(ifname) }},
}

// benchPair is two hosts with a link each, closed when b ends.
func benchPair(b *testing.B, open func(string) (link.Link, error)) (x, y link.Link, pair *veth.Pair) {
	b.Helper()
	pair = vethtest.New(b, veth.Config{MTU: 9000})
	on := func(h *veth.Host) (l link.Link) {
		if err := h.Do(func() (err error) { l, err = open(h.Interface); return err }); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		return l
	}
	return on(pair.A), on(pair.B), pair
}

// cpuTime is what this process, both ends and the kernel for them, has used:
// unlike rates it hardly depends on what else the machine does.
func cpuTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkEcho is the limit of what two processes of ours can do on one cable:
// small requests answered by frames that carry 4 KiB, nothing in between.
//
//	go test -run '^$' -bench Echo -benchtime 2s ./frame/link/ring
func BenchmarkEcho(b *testing.B) {
	for _, c := range contestants {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/depth=%d", c.name, depth), func(b *testing.B) {
				x, y, pair := benchPair(b, c.open)
				done := make(chan error)
				go func() { done <- echo.Serve(y, echo.Config{Reply: frame.ATADataOffset + 4096}) }()
				b.ReportAllocs()
				b.ResetTimer()
				before := cpuTime(b)
				r, err := echo.Run(b.Context(), x, echo.Load{Peer: pair.B.MAC, Depth: depth, Count: uint64(b.N)})
				b.StopTimer()
				if err != nil {
					b.Error(err)
				}
				b.ReportMetric(r.PerSecond(), "echo/s")
				b.ReportMetric(float64(cpuTime(b)-before)/float64(r.Answers)/1000, "cpu-µs/echo")
				b.ReportMetric(float64(r.Lost), "lost")
				y.Close()
				if err := <-done; err != nil {
					b.Error(err)
				}
			})
		}
	}
}

// BenchmarkReceive is how many frames that carry 4 KiB one end takes from
// another that sends as fast as it can.
//
//	go test -run '^$' -bench Receive -benchtime 2s ./frame/link/ring
func BenchmarkReceive(b *testing.B) {
	for _, c := range contestants {
		b.Run(c.name, func(b *testing.B) {
			x, y, pair := benchPair(b, c.open)
			frames := make([][]byte, 32)
			for i := range frames {
				frames[i] = make([]byte, frame.ATADataOffset+4096)
				frame.Header{Dst: pair.B.MAC, Src: pair.A.MAC}.Append(frames[i][:0])
			}
			done := make(chan error)
			go func() {
				for {
					if _, err := x.Send(frames); err != nil {
						done <- nil
						return
					}
				}
			}()
			bufs := make([][]byte, 64)
			for i := range bufs {
				bufs[i] = make([]byte, 9100)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			for got := 0; got < b.N; {
				n, err := y.Recv(bufs, 10*time.Second)
				if n == 0 {
					b.Fatalf("Recv: %v, %+v", err, y.Stats())
				}
				got += n
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/1000, "cpu-µs/frame")
			x.Close()
			<-done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
			s := y.Stats()
			b.ReportMetric(100*float64(s.KernelDropped)/float64(s.KernelDropped+s.Received), "%dropped")
		})
	}
}
