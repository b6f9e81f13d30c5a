package harden

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// A fake is a machine whose every answer can be set. calls is what it was asked
// for, in order.
type fake struct {
	calls []string
	fails map[string]error

	wasExecuted bool
	all         []thread
	ram         int64
	settings    [sysctls]int
	maps        []mapping
	inMemory    map[uintptr]bool // chunks
	allocated   uint64
}

// sound is a machine on which every step succeeds.
func sound() *fake {
	return &fake{
		fails: map[string]error{}, wasExecuted: true, all: []thread{{1, true}, {2, true}},
		settings: [sysctls]int{minFree: 64 << 10, boostFactor: 15000}, ram: 1 << 30, inMemory: map[uintptr]bool{},
	}
}

func (f *fake) call(format string, a ...any) error {
	s := fmt.Sprintf(format, a...)
	f.calls = append(f.calls, s)
	name, _, _ := strings.Cut(s, " ")
	return f.fails[name]
}

func (f *fake) execAsIOFlusher() error     { return f.call("exec") }
func (f *fake) executed() bool             { return f.wasExecuted }
func (f *fake) threads() ([]thread, error) { return f.all, f.call("threads") }
func (f *fake) makeThreads(n int) error    { return f.call("make %d", n) }
func (f *fake) allowRunning(n int)         { _ = f.call("run %d", n) }
func (f *fake) setRealTime() error         { return f.call("realtime") }
func (f *fake) setOOMScore(n int) error    { return f.call("oom %d", n) }
func (f *fake) sysctl(s sysctl) (int, error) {
	return f.settings[s], f.fails[[...]string{"minfree", "boost"}[s]]
}

func (f *fake) setSysctl(s sysctl, n int) error {
	err := f.call([...]string{"setminfree %d", "setboost %d"}[s], n)
	if err == nil {
		f.settings[s] = n
	}
	return err
}
func (f *fake) total() (int64, error) { return f.ram, f.call("total") }
func (f *fake) collect(n int)         { _ = f.call("collect %d", n) }
func (f *fake) heapAllocated() uint64 { return f.allocated }
func (f *fake) lockFuture() error     { return f.call("future") }
func (f *fake) unlock() error         { return f.call("unlock") }
func (f *fake) mappings() ([]mapping, error) {
	return f.maps, f.call("maps")
}

func (f *fake) resident(start, _ uintptr) (bool, error) {
	return f.inMemory[start], f.fails["resident"]
}

func (f *fake) lock(start, n uintptr, onFault bool) error {
	return f.call("lock %x+%x onfault=%v", start, n, onFault)
}

// through takes all steps.
func through(cfg Config, f *fake, rehearse func() error) (*Process, error) {
	p, err := begin(cfg, f)
	if err != nil {
		return p, err
	}
	if err := p.Prepare(); err != nil {
		return p, err
	}
	p.OnThread()
	return p, p.Seal(rehearse)
}

func fine() error { return nil }

var allSteps = []string{IOFlusher, OOMScore, MinFree, Boost, Threads, RealTime, Warm, Heap, Lock}

func names(s Steps) (all []string) {
	for _, step := range s {
		all = append(all, step.Name)
	}
	return all
}

// TestStepsInTheirOrder: the order is the contract.
func TestStepsInTheirOrder(t *testing.T) {
	f := sound()
	f.maps = []mapping{{start: 0x1000, end: 0x3000, accessible: true}}
	p, err := through(Config{Strict: true}, f, func() error { return f.call("rehearse") })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"threads", "oom -1000", "total", "setboost 0", "run 4", "make 16", "realtime", "rehearse", "collect 4194304",
		"future", "maps", "lock 1000+2000 onfault=false", "threads",
	}
	if !slices.Equal(f.calls, want) {
		t.Errorf("asked for\n%q, want\n%q", f.calls, want)
	}
	if got := names(p.Steps()); !slices.Equal(got, allSteps) || len(p.Steps().Failed()) > 0 {
		t.Errorf("steps %q, %q failed", got, names(p.Steps().Failed()))
	}
}

// TestEveryFailureSaysWhatItCostsAndHowToMendIt, and is an error only if strict.
func TestEveryFailureSaysWhatItCostsAndHowToMendIt(t *testing.T) {
	broken := errors.New("broken on purpose")
	for _, row := range []struct {
		step, says string
		set        func(*fake)
	}{
		{IOFlusher, "broken on purpose", func(f *fake) { f.wasExecuted, f.fails["exec"] = false, broken }},
		{IOFlusher, "broken on purpose", func(f *fake) { f.fails["threads"] = broken }},
		{IOFlusher, "1 of 3 threads have not got the flag: [7]", func(f *fake) { f.all = append(f.all, thread{7, false}) }},
		{OOMScore, "permission denied", func(f *fake) { f.fails["oom"] = errors.New("permission denied") }},
		{MinFree, "broken on purpose", func(f *fake) { f.fails["minfree"] = broken }},
		{MinFree, "broken on purpose", func(f *fake) { f.fails["total"] = broken }},
		{MinFree, "vm.min_free_kbytes is 1024: want at least 16384 here: permission denied", func(f *fake) {
			f.settings[minFree], f.fails["setminfree"] = 1024, fs.ErrPermission
		}},
		{Boost, "broken on purpose", func(f *fake) { f.fails["boost"] = broken }},
		{Boost, "permission denied", func(f *fake) { f.fails["setboost"] = fs.ErrPermission }},
		{Threads, "broken on purpose", func(f *fake) { f.fails["make"] = broken }},
		{RealTime, "broken on purpose", func(f *fake) { f.fails["realtime"] = broken }},
		{Warm, "no answer", func(f *fake) { f.fails["rehearse"] = errors.New("no answer") }},
		{Lock, "broken on purpose", func(f *fake) { f.fails["future"] = broken }},
		{Lock, "broken on purpose", func(f *fake) { f.fails["maps"] = broken }},
		{Lock, "broken on purpose", func(f *fake) { f.fails["lock"] = broken }},
		{Lock, "broken on purpose", func(f *fake) { f.fails["resident"] = broken }},
	} {
		t.Run(row.step+" "+row.says, func(t *testing.T) {
			build := func() *fake {
				f := sound()
				f.maps = []mapping{{start: 0, end: 3 * lockChunk, accessible: true, anonymous: true}}
				row.set(f)
				return f
			}
			f := build()
			p, err := through(Config{}, f, func() error { return f.call("rehearse") })
			if err != nil {
				t.Fatalf("not strict, and yet %v", err)
			}
			if got := names(p.Steps()); !slices.Equal(got, allSteps) {
				t.Errorf("steps %q", got)
			}
			failed := p.Steps().Failed()
			if len(failed) != 1 || failed[0].Name != row.step || !strings.Contains(failed[0].Failure, row.says) ||
				failed[0].Costs == "" || failed[0].Remedy == "" || failed[0].Did != "" {
				t.Errorf("failed: %+v", failed)
			}
			if row.step == Lock && row.says == "broken on purpose" && f.fails["future"] == nil && f.calls[len(f.calls)-2] != "unlock" {
				t.Errorf("half a lock was left: %q", f.calls)
			}
			f = build()
			if _, err := through(Config{Strict: true}, f, func() error { return f.call("rehearse") }); err == nil ||
				!strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), failed[0].Remedy) {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

// TestThreadMadeLaterWithoutTheFlag is found when the process is sealed.
func TestThreadMadeLaterWithoutTheFlag(t *testing.T) {
	f := sound()
	p, err := begin(Config{Strict: true}, f)
	if err != nil {
		t.Fatal(err)
	}
	f.all = append(f.all, thread{9, false})
	if err := p.Seal(fine); err == nil || p.Steps().Done(IOFlusher) {
		t.Errorf("sealed with a thread that reclaim waits for: %v", err)
	}
}

// TestOneThreadOfManyIsNotRealTime: the failure is not forgotten for the others.
func TestOneThreadOfManyIsNotRealTime(t *testing.T) {
	f := sound()
	p, err := begin(Config{}, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []error{nil, errors.New("no"), nil} {
		f.fails["realtime"] = bad
		p.OnThread()
	}
	if p.Steps().Done(RealTime) {
		t.Errorf("%+v", p.Steps())
	}
}

// TestMinFreeGrowsWithTheMachine up to a bound: the golden values.
func TestMinFreeGrowsWithTheMachine(t *testing.T) {
	for _, row := range []struct {
		ram    int64
		enough int // KiB
	}{
		{64 << 20, 4 << 10}, {96 << 20, 4 << 10}, {128 << 20, 5461}, {384 << 20, 16 << 10}, {64 << 30, 16 << 10},
	} {
		for _, free := range []int{row.enough + 1, row.enough, row.enough - 1} {
			f := sound()
			f.settings[minFree], f.ram = free, row.ram
			p := &Process{sys: f}
			if _, err := p.raiseMinFree(); err != nil || f.settings[minFree] != max(free, row.enough) {
				t.Errorf("%d MiB with %d KiB free: %d, %v", row.ram>>20, free, f.settings[minFree], err)
			}
		}
	}
}

// TestMinFreeIsPutBack when the process ends, unless it was enough, or somebody else has
// set it meanwhile; and raised again while the disk is in use.
func TestMinFreeIsPutBack(t *testing.T) {
	for _, row := range []struct {
		name              string
		before, meanwhile int
		calls             []string
	}{
		{"as Linux has it", 4000, 16384, []string{"setminfree 16384", "setminfree 4000"}},
		{"enough", 20000, 20000, nil},
		{"set higher by somebody else", 4000, 30000, []string{"setminfree 16384"}},
		{"put back by who had raised it before us", 16384, 4000, []string{"setminfree 16384", "setminfree 4000"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := sound()
			f.settings[minFree] = row.before
			p := &Process{sys: f}
			if did, err := p.raiseMinFree(); err != nil || f.settings[minFree] < 16384 {
				t.Fatalf("%q: it is %d: %v", did, f.settings[minFree], err)
			}
			f.settings[minFree] = row.meanwhile
			p.keepHeld()
			p.keepHeld()
			for range 2 {
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
			f.calls = slices.DeleteFunc(f.calls, func(s string) bool { return s == "total" })
			if !slices.Equal(f.calls, row.calls) {
				t.Errorf("%q, want %q", f.calls, row.calls)
			}
		})
	}
}

// TestLockBringsInWhatIsUsed, leaves tables that never were to their first touch,
// and does not lock what has no memory.
func TestLockBringsInWhatIsUsed(t *testing.T) {
	const chunk = lockChunk
	f := sound()
	f.maps = []mapping{
		{start: 16 * chunk, end: 17 * chunk, accessible: true},                              // text
		{start: 32 * chunk, end: 36*chunk + 4096, accessible: true},                         // a large file: all of it
		{start: 64*chunk - 8192, end: 68*chunk + 4096, accessible: true, anonymous: true},   // data, partly used
		{start: 96 * chunk, end: 160 * chunk, anonymous: true},                              // reserved addresses
		{start: 200 * chunk, end: 200*chunk + 4096, accessible: true, anonymous: true},      // small: not asked
		{start: 300 * chunk, end: 300*chunk + 8192, accessible: true, special: true},        // vvar
		{start: 400*chunk + 4096, end: 402*chunk + 4096, accessible: true, anonymous: true}, // taken away
		{start: 500 * chunk, end: 500*chunk + 4096, accessible: true, anonymous: true},      // after it
		{start: 1 << 40, end: 1<<40 + lockHuge + 4096, accessible: true, anonymous: true},   // a table
	}
	f.inMemory = map[uintptr]bool{64 * chunk: true, 65 * chunk: true, 1 << 40: true}
	gone := &goneAt{f, 400*chunk + 4096}
	p := &Process{sys: gone}
	locked, sparse, err := p.lockMemory()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"future", "maps",
		"lock 100000+10000 onfault=false",
		"lock 200000+41000 onfault=false",
		"lock 3fe000+2000 onfault=true", "lock 400000+20000 onfault=false", "lock 420000+21000 onfault=true",
		"lock c80000+1000 onfault=false",
		"lock 1f40000+1000 onfault=false",
		"lock 10000000000+40001000 onfault=true",
	}
	if !slices.Equal(f.calls, want) {
		t.Errorf("asked for\n%q, want\n%q", f.calls, want)
	}
	if locked != chunk+4*chunk+4096+2*chunk+4096+4096 || sparse != 8192+2*chunk+4096+lockHuge+4096 {
		t.Errorf("%d bytes locked, %d sparse", locked, sparse)
	}
}

// goneAt is a machine from which a mapping vanished since it was listed.
type goneAt struct {
	*fake
	at uintptr
}

func (g *goneAt) resident(start, n uintptr) (bool, error) {
	if start == g.at {
		return false, errGone
	}
	return g.fake.resident(start, n)
}

// TestTheBoostIsPutBack when the process ends, unless there was none, or somebody
// else has set it meanwhile.
func TestTheBoostIsPutBack(t *testing.T) {
	for _, row := range []struct {
		name              string
		before, meanwhile int
		calls             []string
	}{
		{"as Linux has it", 15000, 0, []string{"setboost 0", "setboost 15000"}},
		{"none", 0, 0, nil},
		{"set by somebody else", 15000, 10, []string{"setboost 0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := sound()
			f.settings[boostFactor] = row.before
			p := &Process{sys: f}
			if _, err := p.endBoost(); err != nil || f.settings[boostFactor] != 0 {
				t.Fatalf("it is %d: %v", f.settings[boostFactor], err)
			}
			f.settings[boostFactor] = row.meanwhile
			for range 2 {
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(f.calls, row.calls) {
				t.Errorf("%q, want %q", f.calls, row.calls)
			}
		})
	}
}

// TestTheBoostStaysAway: a process that attached a disk before this one, and
// detaches it, puts back what it found.
func TestTheBoostStaysAway(t *testing.T) {
	f := sound()
	f.settings[boostFactor] = 0
	p, err := through(Config{}, f, fine)
	if err != nil {
		t.Fatal(err)
	}
	f.calls, f.settings[boostFactor] = nil, 15000
	p.Housekeep()
	p.Housekeep()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if want := []string{"setboost 0", "setboost 15000"}; !slices.Equal(f.calls, want) {
		t.Errorf("%q, want %q", f.calls, want)
	}
	f.settings[boostFactor] = 15000
	p.Housekeep()
	if f.settings[boostFactor] == 0 {
		t.Error("ended when nothing depends on it any more")
	}
}

// TestTheBoostOfAnOldKernel is none.
func TestTheBoostOfAnOldKernel(t *testing.T) {
	f := sound()
	f.fails["boost"] = &fs.PathError{Op: "open", Path: "watermark_boost_factor", Err: fs.ErrNotExist}
	p, err := through(Config{Strict: true}, f, fine)
	if err != nil || !p.Steps().Done(Boost) {
		t.Errorf("%v: %+v", err, p.Steps())
	}
}

// TestHousekeepCollectsWhenHalfIsUsed, and not before.
func TestHousekeepCollectsWhenHalfIsUsed(t *testing.T) {
	f := sound()
	f.allocated = 1 << 30
	p, err := through(Config{}, f, fine)
	if err != nil {
		t.Fatal(err)
	}
	f.calls = nil
	for _, row := range []struct {
		more uint64
		want bool
	}{{heapSpare/2 - 1, false}, {1, true}, {heapSpare/2 - 1, false}, {1, true}} {
		f.allocated += row.more
		if got := p.Housekeep(); got != row.want {
			t.Errorf("at %d: collected %v", f.allocated, got)
		}
	}
	if !slices.Equal(f.calls, []string{"collect 0", "collect 0"}) {
		t.Errorf("%q", f.calls)
	}
}

// TestStepsPrint: a line a step, and what to do below a failed one.
func TestStepsPrint(t *testing.T) {
	f := sound()
	f.fails["future"] = errors.New("mlockall: operation not permitted")
	p, err := through(Config{}, f, fine)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	n, err := p.Steps().WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Errorf("%d bytes, %v", n, err)
	}
	for _, want := range []string{"io-flusher  done    on all 2 threads\n", "lock        FAILED  mlockall: operation not permitted\n",
		"without it this process may be swapped out", "to mend it: CAP_IPC_LOCK"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Count(b.String(), "\n") != len(allSteps)+2 {
		t.Errorf("\n%s", b.String())
	}
}

// TestAStepCanBeLeftOut: it is not taken, all others are, it does not count as
// done, and nothing is refused for it.
func TestAStepCanBeLeftOut(t *testing.T) {
	calls := map[string]string{
		IOFlusher: "threads", OOMScore: "oom", MinFree: "total", Boost: "setboost", Threads: "make",
		RealTime: "realtime", Heap: "collect", Lock: "future",
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			f, rehearsed := sound(), false
			p, err := through(Config{Strict: true, Without: []string{name}}, f, func() error { rehearsed = true; return nil })
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range Names() {
				if done := p.Steps().Done(other); done == (other == name) {
					t.Errorf("%s: done %v", other, done)
				}
				taken := slices.ContainsFunc(f.calls, func(c string) bool {
					return calls[other] != "" && strings.HasPrefix(c, calls[other])
				})
				if other == Warm {
					taken = rehearsed
				}
				if taken == (other == name) {
					t.Errorf("%s: taken %v", other, taken)
				}
			}
			if name == Heap && p.Housekeep() {
				t.Error("collected by hand although the collector is on")
			}
		})
	}
	if _, err := begin(Config{Without: []string{"luck"}}, sound()); err == nil || !strings.Contains(err.Error(), "real-time") {
		t.Errorf("a step that there is not: %v", err)
	}
}

// TestThreadsMade counts from the last check, and knows nothing before.
func TestThreadsMade(t *testing.T) {
	f := &fake{all: make([]thread, 12)}
	for i := range f.all {
		f.all[i].ioFlusher = true
	}
	p := &Process{sys: f}
	if n, known := p.ThreadsMade(); n != 0 || known {
		t.Errorf("before a check: %d, known %v", n, known)
	}
	if _, err := p.checkThreads(); err != nil {
		t.Fatal(err)
	}
	for _, more := range []int{0, 2} {
		f.all = append(f.all, make([]thread, more)...)
		if n, known := p.ThreadsMade(); n != more || !known {
			t.Errorf("%d more: %d, known %v", more, n, known)
		}
	}
	f.all = f.all[:3]
	if n, _ := p.ThreadsMade(); n != 0 {
		t.Errorf("when some have ended: %d", n)
	}
}

// TestAStepOfSomebodyElse is printed like ours, and one that failed refuses if ours
// would.
func TestAStepOfSomebodyElse(t *testing.T) {
	for _, strict := range []bool{false, true} {
		p := &Process{strict: strict}
		p.Note("link", "AF_XDP", nil, "", "")
		if err := p.Err(); err != nil || !p.Steps().Done("link") {
			t.Errorf("strict %v: done: %v, %+v", strict, err, p.Steps())
		}
		p = &Process{strict: strict}
		p.Note("link", "AF_XDP", errors.New("no queue"), "answers are lost", "ublk")
		if err := p.Err(); (err != nil) != strict {
			t.Errorf("strict %v: failed: %v", strict, err)
		}
		var b strings.Builder
		if _, err := p.Steps().WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"no queue", "without it answers are lost", "to mend it: ublk"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is not in %q", want, b.String())
			}
		}
	}
}
