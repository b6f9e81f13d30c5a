package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"aoe/cmd/internal/bench"
	"aoe/frame/link/veth"
)

// imageSize is the size of the disk: large enough that requests at random
// offsets rarely overlap, small enough for tmpfs.
const imageSize = 512 << 20

// mtu of all cables: jumbo frames, which hold 16 sectors.
const mtu = 9000

// diskAddr is the address of both disks; they are on different cables.
const diskAddr = "e1.1"

// A workload is one way to use a disk.
type workload struct {
	pattern bench.Pattern
	size    int // bytes of a request, one frame at MTU 9000
	depth   int
}

func (w workload) String() string {
	return fmt.Sprintf("%s %d KiB, depth %d", w.pattern, w.size>>10, w.depth)
}

var workloads = []workload{
	{bench.RandRead, 4096, 1},
	{bench.RandRead, 4096, 16},
	{bench.RandRead, 4096, 32},
	{bench.RandWrite, 4096, 1},
	{bench.RandWrite, 4096, 32},
	{bench.Read, 8192, 32},
	{bench.Write, 8192, 32},
}

func main() {
	rounds := flag.Int("rounds", 5, "how often each contestant runs each workload")
	length := flag.Duration("time", 2*time.Second, "how long each run takes")
	only := flag.String("only", "", "run only the workloads whose name contains this, \"depth 1\"")
	loss := flag.Bool("loss", false, "measure our client on a cable that loses frames, and nothing else")
	flag.Parse()
	if err := pinClients(); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
	workloads = slices.DeleteFunc(workloads, func(w workload) bool { return !strings.Contains(w.String()+",", *only) })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if *loss {
		run = measureLoss
	}
	if err := run(ctx, os.Stdout, *rounds, *length); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, out io.Writer, rounds int, length time.Duration) (err error) {
	b, err := newBed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	table := newTable()
	for round := range rounds {
		for i, w := range workloads {
			fmt.Fprintf(os.Stderr, "round %d of %d: %v\n", round+1, rounds, w)
			for _, c := range contestants {
				s, err := c.run(ctx, b, w, length)
				if err != nil {
					return fmt.Errorf("%s, %v: %w", c.name, w, err)
				}
				table.add(i, c.name, s)
			}
		}
	}
	table.memory = b.ours.peakMemory()
	return table.print(out)
}

// A bed is three cables of their own, so that nobody sees, and has to drop, what
// is meant for another: one to our target, one to vblade, one to the echo.
type bed struct {
	dir    string
	binary string

	ours, vblade *target
	echo         *veth.Pair
}

func newBed() (_ *bed, err error) {
	b := &bed{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if err = b.build(); err != nil {
		return nil, err
	}
	if b.echo, err = veth.New(veth.Config{MTU: mtu}); err != nil {
		return nil, err
	}
	if err = b.serveOurs(); err != nil {
		return nil, err
	}
	b.vblade, err = b.serve("vblade.img", func(image, eth string) []string {
		return []string{"vblade", "1", "1", eth, image}
	})
	if err != nil {
		return nil, fmt.Errorf("%w (apt-get install vblade)", err)
	}
	return b, nil
}

// build makes the directory and the program.
func (b *bed) build() (err error) {
	if b.dir, err = os.MkdirTemp("/dev/shm", "aoe-speed-"); err != nil {
		return err
	}
	b.binary = filepath.Join(b.dir, "aoe")
	build := exec.Command("go", "build", "-o", b.binary, "./cmd/aoe")
	build.Stderr = os.Stderr
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		return fmt.Errorf("building aoe (run this at the top of the repository): %w", err)
	}
	return nil
}

// serveOurs starts our target.
func (b *bed) serveOurs() (err error) {
	b.ours, err = b.serve("ours.img", func(image, eth string) []string {
		return []string{b.binary, "serve", "-i", eth, diskAddr, image}
	})
	return err
}

// serve starts a target for a new image on a new cable, and waits until the
// disk answers.
func (b *bed) serve(name string, command func(image, eth string) []string) (*target, error) {
	image := filepath.Join(b.dir, name)
	// Written whole, so that no contestant pays for allocating it.
	if err := os.WriteFile(image, make([]byte, imageSize), 0o600); err != nil {
		return nil, err
	}
	pair, err := veth.New(veth.Config{MTU: mtu})
	if err != nil {
		return nil, err
	}
	t, err := startTarget(pair, command(image, pair.B.Interface))
	if err != nil {
		return nil, errors.Join(err, pair.Close())
	}
	if err := b.waitAnswer(pair.A); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

// waitAnswer pings until the disk answers; each ping waits by itself.
func (b *bed) waitAnswer(from *veth.Host) error {
	var out []byte
	var err error
	for range 20 {
		cmd := from.Command(b.binary, "ping", "-i", from.Interface, "-c", "1", diskAddr)
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer: %w\n%s", diskAddr, err, out)
}

func (b *bed) close() error {
	var errs []error
	for _, t := range []*target{b.ours, b.vblade} {
		if t != nil {
			errs = append(errs, t.stop())
		}
	}
	if b.echo != nil {
		errs = append(errs, b.echo.Close())
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}
