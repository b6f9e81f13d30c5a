package initiator

import (
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link/linktest"
	"aoe/initiator/initiatortest"
)

var theirs3 = frame.MAC{2, 0, 0, 0, 0, 5}

// twoTargets are two targets with one serial number: one behind our first port,
// the other behind the same or behind the second.
func twoTargets(t *testing.T, onePort bool, disk Config) (b *bed, first, other *linktest.Switch, standby *initiatortest.Target) {
	noLeaks(t)
	b = newSegment(t, bedConfig{target: initiatortest.Config{Instance: 1}})
	first, other = b.sw, b.sw
	if !onePort {
		other = linktest.NewSwitch(linktest.Config{MTU: 9000})
		disk.Others = []Port{{Link: other.Port(ours2)}}
	}
	standby = initiatortest.Start(t, other.Port(theirs3), initiatortest.Config{Addr: e11, Instance: 2})
	b.open(disk)
	return b, first, other, standby
}

// path is how the path to a target is.
func (b *bed) path(target frame.MAC) PathStats {
	b.t.Helper()
	for _, p := range b.disk.Stats().Paths {
		if p.Target == target {
			return p
		}
	}
	b.t.Fatalf("no path to %v", target)
	return PathStats{}
}

// TestH1TwoTargetsAreNotUsedTogether: wherever they are, one is used, the other is
// named with the reason, and the disk is up.
func TestH1TwoTargetsAreNotUsedTogether(t *testing.T) {
	for name, onePort := range map[string]bool{"behind one port": true, "behind two ports": false} {
		t.Run(name, func(t *testing.T) {
			b, _, _, two := twoTargets(t, onePort, Config{DeadTime: -1})
			// The first to answer is used; behind one port that is either.
			used, standby := theirs, theirs3
			idle := two
			if b.disk.Target().MAC == theirs3 {
				used, standby, idle = theirs3, theirs, b.target
			}
			b.until("the other stands by", func() bool { return b.path(standby).Condition == Standby })
			for i := range int64(100) {
				if _, err := b.disk.WriteAt(pattern(1, 8192), 8192*(i%100)); err != nil {
					t.Fatal(err)
				}
			}
			if p := b.path(used); p.Condition != Up {
				t.Errorf("the path that is used is %s: %s", p.Condition, p.Why)
			}
			p := b.path(standby)
			if !strings.Contains(p.Why, "another target") || p.Instance == b.path(used).Instance {
				t.Errorf("the other, of instance %v, stands by because %q", p.Instance, p.Why)
			}
			if n := idle.Seen().Writes; n != 0 {
				t.Errorf("%d writes to both", n)
			}
			if st := b.disk.State(); st.Condition != Up {
				t.Errorf("the disk is %s: %s", st.Condition, st.Why)
			}
		})
	}
}

// TestH1FailoverIfPermitted: the first target is cut off. What waits for it goes to
// the other when that is permitted, and the disk goes on.
func TestH1FailoverIfPermitted(t *testing.T) {
	b, first, _, standby := twoTargets(t, false, Config{DeadTime: -1, Failover: 1500 * time.Millisecond})
	if _, err := b.disk.WriteAt(pattern(1, 8192), 0); err != nil {
		t.Fatal(err)
	}
	b.until("the other stands by", func() bool { return b.path(theirs3).Condition == Standby })
	first.Partition(ours)
	began := time.Now()
	if _, err := b.disk.WriteAt(pattern(2, 8192), 0); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("the other target was used after %v", took)
	}
	if n := standby.Seen().Writes; n == 0 {
		t.Error("nothing was written to the other")
	}
	same(t, standby.Bytes(0, 8192), pattern(2, 8192), "what the other target has")
	first.Heal()
	b.until("the first, which is back, stands by", func() bool { return b.path(theirs).Condition == Standby })
	writes := b.target.Seen().Writes
	if _, err := b.disk.WriteAt(pattern(3, 8192), 0); err != nil {
		t.Fatal(err)
	}
	if n := b.target.Seen().Writes; n != writes {
		t.Error("the first is written to as well")
	}
	if n := b.disk.Stats().Turns; n != 1 {
		t.Errorf("turned to another target %d times", n)
	}
}
