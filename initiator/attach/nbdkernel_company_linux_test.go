package attach_test

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// dialNBDPair is a client on the kernel's end of a pair.
func dialNBDPair(t *testing.T, disk attach.Disk, wantCompany bool) (*nbdClient, <-chan struct{}) {
	t.Helper()
	conn, company, done, err := attach.ServeNBDPair(attach.NBDKernelConfig{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if company != wantCompany {
		t.Errorf("served by the disk's loop: %v, want %v", company, wantCompany)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	return &nbdClient{t: t, conn: conn}, done
}

// over waits for the end of a connection.
func over(t *testing.T, conn net.Conn, done <-chan struct{}) {
	t.Helper()
	conn.Close()
	select {
	case <-done:
	case <-time.After(testTimeout):
		t.Fatal("the connection never ended")
	}
}

// TestNBDKernelOnTheDisksLoop: a connection of the kernel's client is served the same
// whether the disk's loop does it or threads of its own.
func TestNBDKernelOnTheDisksLoop(t *testing.T) {
	for name, alone := range map[string]bool{"on the disk's loop": false, "on threads of its own": true} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			m := newDisk(t, attachtest.Config{Size: 1 << 20, Requests: 6, Shuffle: true, Poison: true, Alone: alone,
				Info: attach.Info{Trim: true, TrimZeroes: true, WriteCache: true, MaxRequest: 32 << 10}})
			c, done := dialNBDPair(t, m, !alone)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 9))
			region := make([]byte, 1<<20)
			for range 40 {
				c.converse(rng, region, 0)
			}
			over(t, c.conn, done)
		})
	}
}

// TestNBDKernelBreaksInTheMiddle: an end that goes away in the middle of a write, or
// with requests under way, leaves nothing behind, and the disk serves the next.
func TestNBDKernelBreaksInTheMiddle(t *testing.T) {
	noLeaks(t)
	m := newDisk(t, attachtest.Config{Size: 1 << 20, Requests: 4, Poison: true})
	for _, cut := range []int{1, 27, 28, 29, 28 + 100, 28 + 4095} {
		c, done := dialNBDPair(t, m, true)
		for i := range uint64(8) {
			c.request(cmdRead, 0, i*4096, 4096, nil)
		}
		c.send(append(nbdRequest(cmdWrite, 0, 99, 8192, 4096), pattern(1, 4096)...)[:cut])
		over(t, c.conn, done)
	}
	c, done := dialNBDPair(t, m, true)
	if a, _ := c.do(cmdRead, 0, 0, 4096, nil); a.errno != eOK {
		t.Errorf("a new connection: error %d", a.errno)
	}
	over(t, c.conn, done)
}
