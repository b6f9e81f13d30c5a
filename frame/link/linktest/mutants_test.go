package linktest

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aoe/frame/link"
)

// A mutant is a Link with one fault, which the suite has to find.
type mutant struct {
	link.Link
	fault string
	leak  chan bool
	wakes atomic.Int32 // for which no Recv has returned early yet
}

// mutants are the faults, and the subtest that finds each.
var mutants = map[string]string{
	"reorders":           "Order",
	"replaces buffers":   "Lengths",
	"ignores capacity":   "Lengths",
	"cuts long frames":   "TruncatedFramesAreCounted",
	"gives up a batch":   "OversizeFramesAreLostAlone",
	"hears itself":       "OwnFramesAreNotReceived",
	"is impatient":       "TimeoutShort",
	"sleeps too long":    "TimeoutShort",
	"remembers all":      "WakesCoalesce",
	"forgets it closed":  "CloseTwice",
	"counts twice":       "StatsAreExact",
	"allocates":          "Allocations",
	"leaves a goroutine": "Order",
	"says nothing":       "StateChanges",
}

func (m *mutant) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	switch m.fault {
	case "remembers all": // one early return for each Wake, not for all of them
		if m.wakes.Load() > 0 {
			m.wakes.Add(-1)
			return 0, nil
		}
	case "is impatient":
		timeout /= 2
	case "sleeps too long":
		if timeout > 0 {
			timeout += 30 * time.Millisecond
		}
	case "ignores capacity":
		for i, b := range bufs {
			bufs[i] = b[:len(b):len(b)]
		}
	case "cuts long frames":
		long := buffers(len(bufs), 10000)
		n, err := m.Link.Recv(long, timeout)
		for i := range n {
			bufs[i] = bufs[i][:copy(bufs[i][:cap(bufs[i])], long[i])]
		}
		return n, err
	}
	n, err := m.Link.Recv(bufs, timeout)
	switch {
	case m.fault == "reorders":
		for i := 0; i+1 < n; i += 2 {
			a, b := bytes.Clone(bufs[i]), bytes.Clone(bufs[i+1])
			bufs[i], bufs[i+1] = append(bufs[i][:0], b...), append(bufs[i+1][:0], a...)
		}
	case m.fault == "replaces buffers" && n > 0:
		bufs[0] = bytes.Clone(bufs[0])
	case m.fault == "allocates" && n > 0:
		sink = make([]byte, 100)
	case m.fault == "forgets it closed" && err != nil:
		return 0, nil
	}
	return n, err
}

var sink []byte

func (m *mutant) Send(frames [][]byte) (int, error) {
	if m.fault == "gives up a batch" {
		for i, f := range frames {
			if n, err := m.Link.Send([][]byte{f}); n != 1 {
				return i, err
			}
		}
		return len(frames), nil
	}
	if m.fault == "hears itself" {
		p := m.Link.(*Port)
		p.sw.mu.Lock()
		for _, f := range frames {
			p.flight.push(p.sw.nowLocked(), f, 0)
		}
		p.sw.mu.Unlock()
	}
	return m.Link.Send(frames)
}

func (m *mutant) Wake() {
	m.wakes.Add(1)
	m.Link.Wake()
}

func (m *mutant) Stats() link.Stats {
	s := m.Link.Stats()
	if m.fault == "counts twice" {
		s.SentBytes *= 2
	}
	return s
}

func (m *mutant) State() link.State {
	s := m.Link.State()
	if m.fault == "says nothing" {
		s.Generation = 0
	}
	return s
}

const mutantVariable = "LINKTEST_MUTANT"

// TestMutant runs the suite on the mutant that TestTheSuiteFindsMutants asks for.
func TestMutant(t *testing.T) {
	fault, ok := os.LookupEnv(mutantVariable)
	if !ok {
		t.Skip("runs in the processes that TestTheSuiteFindsMutants starts")
	}
	patience := 500 * time.Millisecond // some faults are found when it ends
	if mutants[fault] == "" {
		patience = 0
	}
	var a *Port
	Conformance{
		Open: func(*testing.T) (link.Link, link.Link) {
			sw := NewSwitch(Config{})
			a = sw.Port(macA)
			m, n := &mutant{Link: a, fault: fault}, &mutant{Link: sw.Port(macB), fault: fault}
			if fault == "leaves a goroutine" {
				go func() { <-m.leak }()
			}
			return m, n
		},
		Flap:     func(_ *testing.T, up bool) { a.SetUp(up) },
		Patience: patience,
	}.Run(t)
}

// TestTheSuiteFindsMutants: a suite that finds nothing proves nothing.
func TestTheSuiteFindsMutants(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"has no fault"}
	for name := range mutants {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if raceEnabled && name == "allocates" {
			continue
		}
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			finder := mutants[name]
			cmd := exec.Command(self, "-test.run=^TestMutant$/^"+finder+"$")
			cmd.Env = append(os.Environ(), mutantVariable+"="+name)
			out, err := cmd.CombinedOutput()
			failed := strings.Contains(string(out), "--- FAIL: TestMutant/"+finder)
			if (finder != "") != failed || (err != nil) != failed {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		})
	}
}
