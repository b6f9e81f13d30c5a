package initiator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkRequest is what a request costs of our own processor time: admission,
// encoding, the engine, the exchange, the callback, and a copy in the mirror
// that stands for the network. A system call is not among it.
func BenchmarkRequest(b *testing.B) {
	for _, kind := range []Kind{Read, Write} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("%v/depth=%d", kind, depth), func(b *testing.B) { benchmark(b, kind, depth) })
		}
	}
}

func benchmark(b *testing.B, kind Kind, depth int) {
	m := newMirror()
	defer m.Close()
	d, err := Open(context.Background(), Config{Link: m, Addr: e11, Probe: -1, Rand: rand.NewPCG(1, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	op := func(i int) Op { return Op{kind, int64(i*7919%(mirrorSectors/8)) * 4096, 4096} }
	begun, ended := depth, 0 // the loop's
	finished := make(chan struct{})
	var done func(*Request)
	done = func(r *Request) {
		r.Release()
		if ended++; ended == b.N+depth {
			close(finished)
		}
		if begun < b.N+depth {
			r, _ := d.TryAdmit(op(begun))
			begun++
			r.Submit(done)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var first []*Request // all, before one ends: then TryAdmit finds what Release gave back
	for i := range depth {
		r, err := d.Admit(context.Background(), op(i))
		if err != nil {
			b.Fatal(err)
		}
		first = append(first, r)
	}
	for _, r := range first {
		r.Submit(done)
	}
	<-finished
}
