package experiments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"aoe/cmd/internal/lab"
	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"
	"aoe/initiator"
	"aoe/initiator/engine"
	"aoe/initiator/guard"
	"aoe/target"
	"aoe/target/store"
)

// stoppedReader is E16.
func stoppedReader() Experiment {
	return Experiment{
		Name: "E16", Title: "A real kernel, real sockets, and readers that have stopped",
		Question: "What does a flood into sockets that nobody reads do to a real disk, on a machine that has memory left?",
		Setup: fmt.Sprintf("The target and the initiator that are shipped, on two hosts of this machine (network namespaces joined by a veth cable, MTU %d) and its kernel. %d sockets of %s each take every foreign frame on the initiator's host; "+
			"%d frames a second of 1000 bytes are sent to it. Eight workers read and write random blocks of a disk in memory, up to 128 KiB at a time, and compare all that they read. First quiet, then under the flood: with its readers reading; "+
			"with them stopped; with every ordinary allocation of the initiator failing as well; with half of the flood forged answers of the disk, received by a ring with the plain filter, by one with the filter that knows the tags, and by the portable link.",
			cableMTU, unreadSockets, "2 MiB", floodRate),
		Hypothesis: "While there is memory, stopped readers cost what their sockets may hold, and nothing else: all is done, and right. No foreign frame gets into our ring, no forged one further than that. What they do when there is no memory left is E2 and E17.",
		Criterion: "Every case ends without an error and with the right contents. Where the readers have stopped, their sockets hold at least half of their room at the end, where they read, none does. No frame with another EtherType is received by the initiator; " +
			"with ordinary allocation failing, claims are served from the reserve. Times are told and not judged: they are this machine's, at this moment.",
		Costs: "root, and half a minute of a processor",
		run:   runStoppedReader,
	}
}

const (
	cableMTU      = 9000
	unreadSockets = 16
	unreadRoom    = 2 << 20
	floodRate     = 20000
	vethSize      = 32 << 20
)

// An ordeal is one case.
type ordeal struct {
	name                  string
	flood, read, forged   bool
	reserveOnly, filtered bool
	kind                  string // of link
}

var ordeals = []ordeal{
	{name: "quiet"},
	{name: "flood, readers reading", flood: true, read: true},
	{name: "flood, readers stopped", flood: true},
	{name: "the same, only the reserve", flood: true, reserveOnly: true},
	{name: "the same, and forged answers", flood: true, reserveOnly: true, forged: true},
	{name: "the same, filter by tag", flood: true, reserveOnly: true, forged: true, filtered: true},
	{name: "forged, stopped, the portable link", flood: true, reserveOnly: true, forged: true, kind: open.Raw},
}

// A bearing is how it was borne.
type bearing struct {
	took     []time.Duration // of each request, sorted
	all      time.Duration
	retained int // bytes in the sockets that nobody reads
	full     int // of them, at least half full
	sent     uint64
	stats    initiator.Stats
}

// opsEach is how many requests each worker makes, before it reads all again.
const opsEach = 400

func runStoppedReader(ctx context.Context, o Options) (Result, error) {
	return runOrdeals(ctx, o.First, opsEach)
}

func runOrdeals(ctx context.Context, seed uint64, ops int) (Result, error) {
	var r inquiry
	t := Table{Title: "Measured on this machine, once", Columns: []string{
		"case", "requests a second", "median", "99 %", "longest", "sent again", "flood", "held by sockets", "received", "kept", "freed at once", "no room", "from the reserve",
	}}
	c := Chart{Title: "Requests of up to 128 KiB", X: "requests a second"}
	for _, d := range ordeals {
		b, err := d.bear(ctx, seed, ops)
		if err != nil {
			return r.Result, fmt.Errorf("%s: %w", d.name, err)
		}
		st := b.stats
		rate := float64(len(b.took)) / b.all.Seconds()
		t.Rows = append(t.Rows, []string{
			d.name, fmt.Sprintf("%.0f", rate), micro(b.took[len(b.took)/2]), micro(b.took[len(b.took)*99/100]), micro(b.took[len(b.took)-1]), fmt.Sprint(st.Retransmitted),
			fmt.Sprint(b.sent), fmt.Sprintf("%.1f MiB", float64(b.retained)/(1<<20)), fmt.Sprint(st.Link.Received), fmt.Sprint(st.Reserve.Exchanges), fmt.Sprint(st.Reserve.FreedAtOnce),
			fmt.Sprint(st.Link.KernelDropped), fmt.Sprint(st.Reserve.FromReserve),
		})
		c.Bars = append(c.Bars, Bar{d.name, rate, true})
		r.check(st.Drops.EtherType == 0, "%s: %d frames of other EtherTypes got to the initiator", d.name, st.Drops.EtherType)
		if d.flood {
			want := unreadSockets
			if d.read {
				want = 0
			}
			r.check(b.full == want, "%s: %d sockets are half full, of %d", d.name, b.full, unreadSockets)
			r.check(b.sent > 0, "%s: there was no flood", d.name)
		}
		if d.reserveOnly {
			r.check(st.Reserve.FromReserve > 0, "%s: no claim was served from the reserve", d.name)
		}
		if d.forged && !d.filtered {
			r.check(st.Drops.Sum() > 0, "%s: no forged frame was seen", d.name)
		}
	}
	r.Tables, r.Charts = []Table{t}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"These are measured numbers of one run, not of seeds: another run gives others, and a busy machine quite others; the senders of the flood, the readers and the target share its processors with the initiator. That every case came to its end with the right contents is what they share; a wrong block or a failed request would have ended the experiment with an error.",
		"Sockets that nobody reads are bounded, each by itself, and nothing bounds their number: sixteen of 2 MiB hold 32 MiB for ever. A machine with memory left does not notice. One without dies of it, and that takes a machine that can be brought to it: E17.",
		"The filter by tag shows in \"received\": what was forged is gone before it costs a slot of the ring. Nothing that was forged was kept, with or without it.",
	}
	return r.Result, nil
}

func micro(d time.Duration) string { return d.Round(time.Microsecond).String() }

// bear makes the hosts, does the work, and removes everything.
func (d ordeal) bear(ctx context.Context, seed uint64, ops int) (b bearing, err error) {
	pair, err := veth.New(veth.Config{MTU: cableMTU})
	if err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
			err = fmt.Errorf("it needs Linux and root, for network namespaces and packet sockets: %w", err)
		}
		return b, err
	}
	var ends []func() error // in reverse
	defer func() {
		for _, end := range slices.Backward(ends) {
			err = errors.Join(err, end())
		}
	}()
	ends = append(ends, pair.Close)
	end, err := serveMemory(pair.B)
	if err != nil {
		return b, err
	}
	ends = append(ends, end)
	disk, end, err := d.open(ctx, pair.A)
	if err != nil {
		return b, err
	}
	ends = append(ends, end)
	if d.flood {
		end, err := d.startReaders(pair.A)
		if err != nil {
			return b, err
		}
		ends = append(ends, end)
		f, err := lab.StartFlood(lab.FloodConfig{Pair: pair, Addr: lab.Addr, MTU: cableMTU, Rate: floodRate, Forged: d.forged, Seed: seed})
		if err != nil {
			return b, err
		}
		ends = append(ends, func() error {
			sent, err := f.Stop()
			for _, n := range sent {
				b.sent += n
			}
			return err
		})
	}
	if d.flood && !d.read {
		if err := pair.A.Do(func() error { return awaitFull(ctx) }); err != nil {
			return b, err
		}
	}
	timed := &timedDisk{disk: disk}
	begin := time.Now()
	if _, err := lab.CheckModel(ctx, lab.ModelConfig{Disk: timed, SizeBytes: vethSize, Seed: seed}, ops); err != nil {
		return b, err
	}
	b.all, b.took, b.stats = time.Since(begin), timed.took, disk.Stats()
	slices.Sort(b.took)
	if d.flood {
		err = pair.A.Do(func() (err error) {
			b.retained, b.full, err = retained()
			return err
		})
	}
	return b, err
}

// serveMemory serves a disk in memory.
func serveMemory(h *veth.Host) (end func() error, err error) {
	s, err := target.New(target.Config{WireEdits: target.EditsNone})
	if err != nil {
		return nil, err
	}
	st, err := store.Open(store.Config{Path: fmt.Sprintf("mem:%d", vethSize)})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.AddDisk(target.Disk{Addr: lab.Addr, Store: st, Model: "aoe lab E16"}); err != nil {
		return nil, errors.Join(err, st.Close(), s.Close())
	}
	err = h.Do(func() error {
		l, err := open.Open(h.Interface)
		if err != nil {
			return err
		}
		return s.AddLink(l)
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }() // ends with stop
	return func() error {
		stop()
		return <-served
	}, nil
}

// open opens the disk.
func (d ordeal) open(ctx context.Context, h *veth.Host) (disk *initiator.Disk, end func() error, err error) {
	cfg := initiator.Config{Addr: lab.Addr, DeadTime: -1}
	if d.reserveOnly {
		cfg.FailNormal = func() bool { return true }
	}
	closeTable := func() error { return nil }
	at := open.Config{Interface: h.Interface, Kind: d.kind}
	if d.filtered {
		table, err := guard.NewTable(lab.Addr, engine.DefaultSlots)
		if err != nil {
			return nil, nil, err
		}
		closeTable = table.Close
		cfg.Tags, at.Kind, at.FilterFD = table, open.Ring, table.FilterFD()
	}
	var port link.Link
	if err := h.Do(func() (err error) { port, err = open.With(at); return err }); err != nil {
		return nil, nil, errors.Join(err, closeTable())
	}
	cfg.Link = port
	if disk, err = initiator.Open(ctx, cfg); err != nil {
		return nil, nil, errors.Join(err, port.Close(), closeTable())
	}
	return disk, func() error { return errors.Join(disk.Close(), port.Close(), closeTable()) }, nil
}

// startReaders opens the sockets that take the flood, and reads them or not.
func (d ordeal) startReaders(h *veth.Host) (end func() error, err error) {
	var sockets []io.ReadCloser
	var wg sync.WaitGroup
	end = func() (err error) {
		for _, s := range sockets {
			err = errors.Join(err, s.Close())
		}
		wg.Wait()
		return err
	}
	err = h.Do(func() error {
		for range unreadSockets {
			s, err := lab.OpenUnread(h.Interface, unreadRoom)
			if err != nil {
				return err
			}
			sockets = append(sockets, s)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, end())
	}
	if d.read {
		for _, s := range sockets {
			wg.Go(func() { // ends with the socket
				b := make([]byte, cableMTU+frame.EthernetLen)
				for {
					if _, err := s.Read(b); err != nil {
						return
					}
				}
			})
		}
	}
	return end, nil
}

// retained is what the sockets that take the flood hold, in the calling thread's
// network, in bytes as the kernel accounts for them.
func retained() (bytes, full int, err error) {
	text, err := os.ReadFile("/proc/thread-self/net/packet")
	if err != nil {
		return 0, 0, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines[1:] {
		// sk RefCnt Type Proto Iface R Rmem User Inode
		f := strings.Fields(line)
		if len(f) < 7 || f[3] != strconv.FormatInt(lab.ForeignEtherType, 16) {
			continue
		}
		n, err := strconv.Atoi(f[6])
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/net/packet: %w", err)
		}
		bytes += n
		if n >= unreadRoom/2 {
			full++
		}
	}
	return bytes, full, nil
}

// awaitFull waits until the sockets have taken what they can, or half a minute: the
// criterion then says so.
func awaitFull(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, full, err := retained(); err != nil || full == unreadSockets {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// A timedDisk notes how long each request takes.
type timedDisk struct {
	disk *initiator.Disk
	mu   sync.Mutex
	took []time.Duration
}

func (d *timedDisk) ReadAt(p []byte, off int64) (int, error) {
	begin := time.Now()
	n, err := d.disk.ReadAt(p, off)
	d.note(begin)
	return n, err
}

func (d *timedDisk) WriteAt(p []byte, off int64) (int, error) {
	begin := time.Now()
	n, err := d.disk.WriteAt(p, off)
	d.note(begin)
	return n, err
}

func (d *timedDisk) note(begin time.Time) {
	took := time.Since(begin)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.took = append(d.took, took)
}
