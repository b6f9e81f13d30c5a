package store_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/target/store"
	"aoe/target/store/storetest"
)

// A program is an NBD server of somebody else's on a unix socket.
type program struct {
	socket string
	args   []string
	cmd    *exec.Cmd
	ended  chan struct{}
}

// startProgram starts an NBD server and waits until it listens. SOCKET among
// args stands for its socket.
func startProgram(t *testing.T, from string, args ...string) *program {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("needs %s: apt-get install %s", args[0], from)
	}
	p := &program{socket: filepath.Join(t.TempDir(), "nbd")}
	for _, a := range args {
		p.args = append(p.args, strings.ReplaceAll(a, "SOCKET", p.socket))
	}
	p.start(t)
	t.Cleanup(p.kill)
	return p
}

func nbdkit(t *testing.T, args ...string) *program {
	return startProgram(t, "nbdkit", append([]string{"nbdkit", "--foreground", "--exit-with-parent", "--unix", "SOCKET"}, args...)...)
}

func qemuNBD(t *testing.T, args ...string) *program {
	return startProgram(t, "qemu-utils", append([]string{"qemu-nbd", "--persistent", "--shared=0", "--socket", "SOCKET"}, args...)...)
}

// start starts the program, after kill anew, and waits until it lets us in.
func (p *program) start(t *testing.T) {
	t.Helper()
	os.Remove(p.socket) // of one that was killed
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { cmd.Wait(); close(ended) }(p.cmd, p.ended)
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("unix", p.socket)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v does not listen: %v", p.args, err)
		}
		select {
		case <-p.ended:
			t.Fatalf("%v has ended", p.args)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill ends the program the hard way.
func (p *program) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

func (p *program) uri() string { return "nbd+unix:///?socket=" + p.socket }

// The suite on the servers that people use.
func TestNBDConformsWithPrograms(t *testing.T) {
	for _, row := range []struct {
		name  string
		start func(t *testing.T, image string) *program
	}{
		{"nbdkit file", func(t *testing.T, image string) *program { return nbdkit(t, "file", image) }},
		{"nbdkit file in large blocks", func(t *testing.T, image string) *program {
			return nbdkit(t, "--filter=blocksize-policy", "file", image, "blocksize-minimum=4096", "blocksize-preferred=4096")
		}},
		{"nbdkit file with small payloads", func(t *testing.T, image string) *program {
			return nbdkit(t, "--filter=blocksize-policy", "file", image,
				"blocksize-minimum=512", "blocksize-maximum=4096", "blocksize-error-policy=error")
		}},
		{"nbdkit file without zeroes", func(t *testing.T, image string) *program { return nbdkit(t, "--filter=nozero", "file", image) }},
		{"nbdkit memory, answers out of order", func(t *testing.T, image string) *program {
			return nbdkit(t, "--filter=delay", "memory", "1M", "rdelay=1ms", "wdelay=2ms")
		}},
		{"qemu-nbd file", func(t *testing.T, image string) *program { return qemuNBD(t, "--format=raw", image) }},
		{"qemu-nbd file direct", func(t *testing.T, image string) *program {
			return qemuNBD(t, "--format=raw", "--cache=none", "--discard=unmap", image)
		}},
	} {
		for _, durable := range []bool{false, true} {
			name := row.name
			if durable {
				name += " durable"
			}
			t.Run(name, func(t *testing.T) {
				storetest.Conform(t, func(t *testing.T, size int64) store.Store {
					p := row.start(t, image(t, t.TempDir(), size))
					n, err := store.OpenNBD(store.NBDConfig{URI: p.uri(), Durable: durable})
					if err != nil {
						t.Fatal(err)
					}
					return n
				})
			})
		}
	}
}

// A server that insists on blocks larger than a sector is refused, with the way
// out.
func TestNBDRefusesLargeBlocks(t *testing.T) {
	p := nbdkit(t, "--filter=blocksize-policy", "memory", "1M",
		"blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-error-policy=error")
	n, err := store.OpenNBD(store.NBDConfig{URI: p.uri()})
	if err != nil {
		if !strings.Contains(err.Error(), "blocksize") {
			t.Errorf("%v: want the filter's name in it", err)
		}
		return
	}
	defer n.Close()
	// nbdkit tells block sizes only to those who ask, and lets the others in:
	// then it refuses what it does not take, and says so.
	if _, err := n.WriteAt(make([]byte, 512), 512); err == nil {
		t.Error("half a block was written")
	}
}

// What nbdkit's error filter says arrives.
func TestNBDPassesOnErrorsOfPrograms(t *testing.T) {
	p := nbdkit(t, "--filter=error", "memory", "1M", "error-pread=EIO", "error-pread-rate=100%", "error-pwrite=ENOSPC", "error-pwrite-rate=100%")
	n := openNBD(t, store.NBDConfig{URI: p.uri()})
	if _, err := n.ReadAt(make([]byte, 512), 0); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("ReadAt: %v, want EIO", err)
	}
	if _, err := n.WriteAt(make([]byte, 512), 0); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("WriteAt: %v, want ENOSPC", err)
	}
	ro := nbdkit(t, "--readonly", "memory", "1M")
	if n, err := store.OpenNBD(store.NBDConfig{URI: ro.uri()}); err == nil {
		n.Close()
		t.Error("a read-only export was opened for writing")
	}
}

// Real servers are killed and started anew under load: nothing that was answered
// is lost, and nothing fails.
func TestNBDProgramsAreKilledUnderLoad(t *testing.T) {
	for _, row := range []struct {
		name  string
		start func(t *testing.T, image string) *program
	}{
		{"nbdkit", func(t *testing.T, image string) *program { return nbdkit(t, "file", image) }},
		{"nbdkit slow", func(t *testing.T, image string) *program {
			return nbdkit(t, "--filter=delay", "file", image, "wdelay=5ms")
		}},
		{"qemu-nbd", func(t *testing.T, image string) *program { return qemuNBD(t, "--format=raw", image) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := row.start(t, image(t, t.TempDir(), 1<<20))
			n := openNBD(t, store.NBDConfig{URI: p.uri(), Durable: true, Patience: 2 * time.Minute})
			const kills, between, seed = 5, 60, 1
			w := startWriters(n, seed, 8)
			for range kills {
				w.wait(between)
				p.kill()
				p.start(t)
			}
			w.wait(between)
			w.stopAndCheck(t)
			// Every kill is noticed, because the writers go on after it.
			if st := n.Stats(); st.Connections != kills+1 || st.Repeated == 0 || st.Expired != 0 {
				t.Errorf("Stats() = %+v after %d kills", st, kills)
			}
		})
	}
}

// writers write to sectors of their own, and know what they have written last.
type writers struct {
	s       store.Store
	seed    uint64
	last    [][64]uint64
	written chan bool
	stop    chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

func startWriters(s store.Store, seed uint64, users int) *writers {
	w := &writers{s: s, seed: seed, last: make([][64]uint64, users), written: make(chan bool), stop: make(chan struct{})}
	for u := range users {
		w.all.Go(func() { w.write(u) })
	}
	return w
}

func (w *writers) write(u int) {
	rng := rand.New(rand.NewPCG(w.seed, uint64(u+1)))
	p := make([]byte, 512)
	for i := uint64(1); ; i++ {
		at := rng.IntN(64)
		binary.BigEndian.PutUint64(p, i)
		_, err := w.s.WriteAt(p, int64(u*64+at)*512)
		if err == nil {
			w.last[u][at] = i
			if i%16 == 0 {
				err = w.s.Sync()
			}
		}
		if err != nil {
			w.mu.Lock()
			w.errs = append(w.errs, err)
			w.mu.Unlock()
		}
		select {
		case w.written <- true:
		case <-w.stop:
			return
		}
	}
}

// wait waits for n more writes.
func (w *writers) wait(n int) {
	for range n {
		<-w.written
	}
}

// stopAndCheck ends the writers and looks for what they have written.
func (w *writers) stopAndCheck(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.all.Wait()
	if err := errors.Join(w.errs...); err != nil {
		t.Errorf("seed %d: %v", w.seed, err)
	}
	w.check(t)
}

func (w *writers) check(t *testing.T) {
	t.Helper()
	p := make([]byte, 512)
	for u := range w.last {
		for at := range w.last[u] {
			if _, err := w.s.ReadAt(p, int64(u*64+at)*512); err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint64(p); got != w.last[u][at] {
				t.Errorf("seed %d: sector %d of user %d is of write %d, want %d", w.seed, at, u, got, w.last[u][at])
			}
		}
	}
}
