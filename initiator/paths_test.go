package initiator

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"
)

var (
	ours2   = frame.MAC{2, 0, 0, 0, 0, 3}
	theirs2 = frame.MAC{2, 0, 0, 0, 0, 4}
)

// A twoPaths is a disk with a port on each of two switches, and one target on
// both.
type twoPaths struct {
	*bed
	second  *linktest.Switch
	port2   *linktest.Port // ours on the second
	target2 *linktest.Port // the target's
}

func newTwoPaths(t *testing.T, sw, second linktest.Config, disk Config) *twoPaths {
	t.Helper()
	noLeaks(t)
	w := joined(t, sw, second)
	if err := w.tryOpen(disk); err != nil {
		t.Fatal(err)
	}
	return w
}

// joined is two switches with a target on both and no disk yet.
func joined(t *testing.T, sw, second linktest.Config) *twoPaths {
	if second.MTU == 0 {
		second.MTU = 9000
	}
	w := &twoPaths{bed: newSegment(t, bedConfig{sw: sw}), second: linktest.NewSwitch(second)}
	w.port2, w.target2 = w.second.Port(ours2), w.second.Port(theirs2)
	initiatortest.Also(t, w.target, w.target2)
	return w
}

func (w *twoPaths) tryOpen(disk Config) error {
	disk.Others = append(disk.Others, Port{Link: w.port2})
	d, err := w.bed.tryOpen(disk)
	if err != nil {
		return err
	}
	w.disk = d
	w.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.t.Errorf("Close: %v", err)
		}
		if s := d.Stats().Reserve; s.Granted != 0 || !d.reserveClosed {
			w.t.Errorf("%d buffers are still granted, memory given back: %v", s.Granted, d.reserveClosed)
		}
	})
	return nil
}

// load writes and reads all the time, each worker its own part of the disk, and
// checks what it reads. stop ends it.
func (w *twoPaths) load(workers int) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for k := range workers {
		all.Go(func() {
			const size = 16 << 10
			p, q := make([]byte, size), make([]byte, size)
			off := int64(k) * 4 * size
			for n := uint64(1); ; n++ {
				select {
				case <-done:
					return
				default:
				}
				copy(p, pattern(n<<8|uint64(k), size))
				if _, err := w.disk.WriteAt(p, off); err != nil {
					w.t.Errorf("worker %d, write %d: %v", k, n, err)
					return
				}
				if _, err := w.disk.ReadAt(q, off); err != nil {
					w.t.Errorf("worker %d, read %d: %v", k, n, err)
					return
				}
				if string(p) != string(q) {
					w.t.Errorf("worker %d: read %d returns something else than was written", k, n)
					return
				}
			}
		})
	}
	return func() { close(done); all.Wait() }
}

// more waits until n requests more were done.
func (w *twoPaths) more(n uint64) {
	w.t.Helper()
	before := w.disk.Stats().Answered
	w.until("the disk goes on", func() bool { return w.disk.Stats().Answered > before+n })
}

func (w *twoPaths) condition(i int) Condition { return w.disk.Stats().Paths[i].Condition }

// TestPathsUnderLoad: both are used; one dies and comes back, its port goes down
// and comes up, its switch gets a smaller MTU and a larger one again. Nothing is
// lost, and each time the path is left out and taken back.
func TestPathsUnderLoad(t *testing.T) {
	w := newTwoPaths(t, linktest.Config{}, linktest.Config{}, Config{DeadTime: -1})
	stop := w.load(4)
	defer func() { stop() }()
	w.until("both paths are used", func() bool {
		p := w.disk.Stats().Paths
		return len(p) == 2 && p[0].Read.Samples > 50 && p[1].Read.Samples > 50
	})
	for _, hurt := range []struct {
		name     string
		on, heal func()
	}{
		{"partition", func() { w.second.Partition(ours2) }, func() { w.second.Heal() }},
		{"port down", func() { w.port2.SetUp(false) }, func() { w.port2.SetUp(true) }},
		{"small MTU", func() { w.target2.SetMTU(1500) }, func() { w.target2.SetMTU(9000) }},
	} {
		hurt.on()
		w.until(hurt.name+": the path is left out", func() bool { return w.condition(1) == IsDown })
		w.more(200)
		if st := w.disk.State(); st.Condition != Degraded {
			t.Errorf("%s: the disk is %s", hurt.name, st.Condition)
		}
		hurt.heal()
		w.until(hurt.name+": the path is taken back", func() bool { return w.condition(1) == Up })
		n := w.disk.Stats().Paths[1].Read.Samples
		w.until(hurt.name+": the path is used again", func() bool { return w.disk.Stats().Paths[1].Read.Samples > n+20 })
	}
	w.until("the disk is up", func() bool { return w.disk.State().Condition == Up })
	st := w.disk.Stats()
	t.Logf("%d requests, %d frames sent again, %d failovers, %d redemptions", st.Requests, st.Retransmitted, st.Failovers, st.Redemptions)
}

// TestPathsWithLoss: both lose, double and reorder.
func TestPathsWithLoss(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := linktest.Faults{Loss: 0.02, Duplicate: 0.01, Reorder: 0.05}
	w := newTwoPaths(t, linktest.Config{Seed: seed, Faults: faults}, linktest.Config{Seed: seed + 1, Faults: faults}, Config{DeadTime: -1})
	stop := w.load(4)
	defer stop()
	w.more(2000)
}

// TestOpenWithOnePathMissing: whichever port finds nobody, the disk opens, and the
// other path joins when it is there.
func TestOpenWithOnePathMissing(t *testing.T) {
	for name, cut := range map[string]func(w *twoPaths) (heal func()){
		"the first":  func(w *twoPaths) func() { w.sw.Partition(ours); return w.sw.Heal },
		"the second": func(w *twoPaths) func() { w.second.Partition(ours2); return w.second.Heal },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			w := joined(t, linktest.Config{}, linktest.Config{})
			heal := cut(w)
			if err := w.tryOpen(Config{DeadTime: -1}); err != nil {
				t.Fatal(err)
			}
			stop := w.load(2)
			defer stop()
			w.more(50)
			heal()
			w.until("the other path joins", func() bool { return w.condition(0) == Up && w.condition(1) == Up })
			w.until("both are used", func() bool {
				p := w.disk.Stats().Paths
				return p[0].Read.Samples > 20 && p[1].Read.Samples > 20
			})
		})
	}
}

// TestH15PathsAgreeOnThePayload: frames are as long as every path carries.
func TestH15PathsAgreeOnThePayload(t *testing.T) {
	w := newTwoPaths(t, linktest.Config{}, linktest.Config{MTU: 1500}, Config{})
	if n := w.disk.Payload(); n != 1024 {
		t.Errorf("%d bytes in a frame, want 1024: what an MTU of 1500 holds", n)
	}
	stop := w.load(2)
	defer stop()
	w.more(200)
}

// TestH15AnotherDiskBehindAPort: Open says that two disks have the address, or
// leaves the one out that was not asked for.
func TestH15AnotherDiskBehindAPort(t *testing.T) {
	noLeaks(t)
	b := newSegment(t, bedConfig{})
	second := linktest.NewSwitch(linktest.Config{MTU: 9000})
	other := initiatortest.Start(t, second.Port(theirs2), initiatortest.Config{Addr: e11, Serial: "impostor"})
	port := second.Port(ours2)
	if _, err := b.tryOpen(Config{Others: []Port{{Link: port}}}); !errors.Is(err, ErrAmbiguous) {
		t.Fatalf("two disks with one address: %v", err)
	}
	b.open(Config{Others: []Port{{Link: port}}, Serial: "initiatortest", DeadTime: -1})
	for i := range int64(50) {
		if _, err := b.disk.WriteAt(pattern(1, 8192), 8192*i); err != nil {
			t.Fatal(err)
		}
	}
	b.until("the impostor is named", func() bool { return b.disk.Stats().Paths[1].Why == gravity[0].what })
	if n := other.Seen().Writes; n != 0 {
		t.Errorf("%d writes to another disk", n)
	}
}

// TestPlanOfSeveralPorts: the bill has a receive ring for each.
func TestPlanOfSeveralPorts(t *testing.T) {
	one, err := Config{Addr: e11}.Plan(9000, 16)
	if err != nil {
		t.Fatal(err)
	}
	three, err := Config{Addr: e11, Others: make([]Port, 2)}.Plan(9000, 16)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := three.Config.Reserve-one.Config.Reserve, 2*stockReserved; got != want {
		t.Errorf("two ports more take %d buffers more, want %d", got, want)
	}
}

// TestPathsInCrunch: without ordinary memory, with a path that dies.
func TestPathsInCrunch(t *testing.T) {
	w := newTwoPaths(t, linktest.Config{}, linktest.Config{}, Config{DeadTime: -1})
	w.disk.SetPressure(true)
	stop := w.load(4)
	defer stop()
	w.more(200)
	w.second.Partition(ours2)
	w.more(200)
	w.second.Heal()
	w.until("the path is taken back", func() bool { return w.condition(1) == Up })
	w.disk.SetPressure(false)
	w.more(200)
}

// TestH15PayloadFollowsTheNetwork: on the only path the switch loses long frames,
// then our port gets a smaller MTU, and each time it is undone. Under load nothing
// is lost, and the frames are whole again in the end.
func TestH15PayloadFollowsTheNetwork(t *testing.T) {
	noLeaks(t)
	b := newSegment(t, bedConfig{})
	b.open(Config{DeadTime: -1})
	w := &twoPaths{bed: b}
	stop := w.load(4)
	defer func() { stop() }()
	w.more(200)
	payload := func() int { return w.disk.Stats().Paths[0].Payload }
	if n := payload(); n != 8192 {
		t.Fatalf("%d bytes in a frame at the start", n)
	}
	for _, hurt := range []struct {
		name     string
		on, heal func()
	}{
		{"switch", func() { b.sw.SetScript(shorterThan(1514)) }, func() { b.sw.SetScript(nil) }},
		{"our port", func() { b.port.SetMTU(1500) }, func() { b.port.SetMTU(9000) }},
	} {
		hurt.on()
		w.until(hurt.name+": frames are shorter", func() bool { return payload() == 1024 })
		w.more(200)
		if st := w.disk.State(); st.Condition != Degraded {
			t.Errorf("%s: the disk is %s", hurt.name, st.Condition)
		}
		hurt.heal()
		w.until(hurt.name+": frames are whole again", func() bool { return payload() == 8192 })
		w.more(200)
		w.until("the disk is up", func() bool { return w.disk.State().Condition == Up })
	}
	if w.disk.Stats().Cut == 0 {
		t.Error("no frame was sent in parts")
	}
}

// shorterThan loses frames that are longer than that.
func shorterThan(n int) linktest.Script {
	return func(_, _ frame.MAC, f []byte, drawn linktest.Fate) linktest.Fate {
		drawn.Lost = drawn.Lost || len(f) > n
		return drawn
	}
}
