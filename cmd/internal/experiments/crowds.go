package experiments

import (
	"context"
	"fmt"
	"time"

	"aoe/cmd/internal/fabric"
)

// crowds is about many on one switch.
func crowds() Experiment {
	return Experiment{
		Name: "fabric", Title: "Hundreds on one switch", Seeds: true,
		Question: "The buffer count protects a target from one initiator. Who protects the switch from many targets that answer at once, and initiators from each other?",
		Setup: "The switch of E13 and E15. One initiator reads from 1, 16 or 256 targets, four requests of 4 KiB each: their answers meet in front of one cable, where the switch has room for 128 frames. " +
			"Then 1, 16 or 256 initiators want four requests each of one target, which has room for 128 frames, 512 or 4096, says so, and takes 20 us for each; or which divides its room for 512 equally among those who ask, as ours does (H23), and tells of half of it. And 100 initiators with three disks each of 100 targets, every tenth of which dies after 200 ms. " +
			"The last 250 ms of 700 are counted; a run for every 100 seeds.",
		Hypothesis: "The windows keep a cable busy whoever shares it, and share it: the slowest gets half of an equal part or more. A death is felt by the dead target's disks alone.",
		Criterion: "At least 80 % of what one pair does through the same cable or target. No disk without a request; the slowest with at least half of an equal part. " +
			"Beside the dead, every disk does at least half of what it does with the same seed and no death.",
		run: runCrowds,
	}
}

// How long, and from when on it is counted: who loses the first frames of all
// waits 100 ms, because no round trip has been measured, and then 200.
const (
	crowdTime = 700 * time.Millisecond
	crowdMark = 450 * time.Millisecond
)

// A multitude is what was done by all, and how equally.
type multitude struct {
	disks, requests, idle, slowest int
	sent, again, lost              uint64
	worst                          time.Duration
}

func runCrowds(ctx context.Context, o Options) (Result, error) {
	var r inquiry
	t := Table{Title: "Requests of 4 KiB in 250 ms, of all runs", Columns: []string{
		"initiators", "targets", "room", "requests", "of one pair", "slowest, of an equal part", "without any", "frames sent", "sent again", "lost in switch or target", "longest",
	}}
	c := Chart{Title: "What the slowest gets", X: "disks that share a cable or a target", Y: "% of an equal part", LogX: true}
	one, line := 0, Line{}
	for _, g := range gatherings {
		n, name := g.n, "targets of one initiator"
		if !g.targets {
			name = "initiators of one target"
		}
		m, err := g.meet(ctx, o)
		if err != nil {
			return r.Result, err
		}
		if n == 1 {
			one, line = m.requests, Line{Name: name}
		}
		room := fmt.Sprint(g.room)
		if g.divides {
			room += ", divided"
		}
		row := []string{"1", fmt.Sprint(n), room}
		if !g.targets {
			row = []string{fmt.Sprint(n), "1", room}
		}
		name = fmt.Sprintf("%d %s, room for %s", n, name, room)
		part := 100 * float64(m.slowest*m.disks) / float64(max(m.requests, 1))
		t.Rows = append(t.Rows, append(row, fmt.Sprint(m.requests), fmt.Sprintf("%.0f %%", 100*float64(m.requests)/float64(max(one, 1))), fmt.Sprintf("%.0f %%", part),
			fmt.Sprintf("%d of %d", m.idle, m.disks), fmt.Sprint(m.sent), fmt.Sprint(m.again), fmt.Sprint(m.lost), fmt.Sprintf("%.1f ms", milliseconds(m.worst))))
		r.check(10*m.requests >= 8*one, "%s: %d requests, one pair does %d", name, m.requests, one)
		r.check(m.idle == 0, "%s: %d of %d disks have not one request in 250 ms", name, m.idle, m.disks)
		r.check(part >= 50, "%s: the slowest gets %.0f %% of an equal part", name, part)
		if g.room > smallRoom {
			continue
		}
		line.X, line.Y = append(line.X, float64(n)), append(line.Y, part)
		if n == most {
			c.Lines = append(c.Lines, line)
		}
	}
	deaths, err := runDeaths(ctx, o, r.check)
	if err != nil {
		return r.Result, err
	}
	r.Tables, r.Charts = []Table{t, deaths}, []Chart{c}
	r.judge()
	r.Finding = []string{
		"The cable and the target are kept busy by any number, though in the largest crowds up to half of all frames are sent again. But once there are more frames under way than the bottleneck has room for, disks are not served equally: " +
			"a window cannot be less than one frame, so the queue stays full, and who loses waits for a timer that doubles, up to a second, while those who are served send their next frame at once. " +
			"Many wait for as long as was looked at. No rule keeps them out, only chance, again and again.",
		"Room helps late: it has to hold what all together want at a time, four frames a request and four requests a disk. Short of that, a longer queue only makes round trips longer. " +
			"What helps is to divide the room: with two frames for each initiator, and nobody allowed more while others ask, everybody is served, if single requests still wait long. A target can do that, and ours does; it takes a buffer count (aoe serve --buffers) of no less than the number of busy initiators. " +
			"A switch cannot, so one initiator of hundreds of busy targets has to ask for less at a time. Ethernet's flow control (802.3x) is not modelled here.",
		"Deaths stay where they are. A disk that shares its initiator with a dead one has the memory that is its own, and one that shares a target with it has more of the target.",
	}
	return r.Result, nil
}

// A gathering is n targets of one initiator, or n initiators of one target, and how
// many frames the bottleneck holds: the switch's port or the target.
type gathering struct {
	n       int
	targets bool
	room    int
	divides bool // the target does its room, equally
}

const (
	smallRoom = 128
	most      = 256
)

var gatherings = []gathering{
	{1, true, smallRoom, false}, {16, true, smallRoom, false}, {most, true, smallRoom, false},
	{1, false, smallRoom, false}, {16, false, smallRoom, false}, {most, false, smallRoom, false}, {most, false, 512, false}, {most, false, 4096, false},
	{most, false, 512, true},
}

// meet has them want all they can get.
func (g gathering) meet(ctx context.Context, o Options) (multitude, error) {
	n := g.n
	cfg := fabric.Config{Time: crowdTime, Mark: crowdMark}
	if n == 1 {
		cfg.Time, cfg.Mark = crowdTime-crowdMark+50*time.Millisecond, 50*time.Millisecond // nobody loses the first frames
	}
	target := fabric.Target{Advertised: g.room, Buffers: g.room, Divides: g.divides, Service: 20 * time.Microsecond}
	if g.divides {
		target.Advertised /= 2 // as ours does, which reserves twice what it tells
	}
	if g.targets {
		cfg.Queue = g.room
		one := fabric.Initiator{Requests: 4, Claims: 4 * n}
		if n == 1 {
			one.Requests, one.Claims = 16, 16 // as much as one pair can do
		}
		target.Service = 5 * time.Microsecond // the cable is the slowest
		for i := range n {
			one.Disks = append(one.Disks, i)
			cfg.Targets = append(cfg.Targets, target)
		}
		cfg.Initiators = []fabric.Initiator{one}
	} else {
		cfg.Targets = []fabric.Target{target}
		requests := 4
		if n == 1 {
			requests = 16
		}
		for range n {
			cfg.Initiators = append(cfg.Initiators, fabric.Initiator{Disks: []int{0}, Requests: requests, Claims: requests})
		}
	}
	var all multitude
	for i := range crowdRuns(o) {
		if err := ctx.Err(); err != nil {
			return all, err
		}
		m, err := runFabric(o.First+uint64(i), cfg)
		if err != nil {
			return all, err
		}
		all.add(m)
	}
	return all, nil
}

func crowdRuns(o Options) int { return max(1, o.Seeds/100) }

// add adds a run. The slowest is the slowest of all runs.
func (c *multitude) add(m fabric.Result) {
	c.lost += m.SwitchLost + m.TargetLost + m.RingLost
	for _, d := range m.Disks {
		if c.disks == 0 || d.Requests < c.slowest {
			c.slowest = d.Requests
		}
		c.disks++
		c.requests, c.sent, c.again = c.requests+d.Requests, c.sent+d.Sent, c.again+d.Again
		c.worst = max(c.worst, d.Worst())
		if d.Requests == 0 {
			c.idle++
		}
	}
}

// runDeaths is the mesh in which every tenth target dies.
func runDeaths(ctx context.Context, o Options, check func(bool, string, ...any)) (Table, error) {
	const many = 100
	t := Table{Title: "Every tenth of 100 targets dies", Columns: []string{"disks", "requests, no death", "requests, with deaths", "slowest, of what it did", "longest"}}
	if err := ctx.Err(); err != nil {
		return t, err
	}
	var results [2]fabric.Result
	for i := range results {
		cfg := fabric.Config{Time: crowdTime, Mark: crowdMark}
		for k := range many {
			target := fabric.Target{Advertised: 32, Buffers: 32, Service: 1500 * time.Microsecond}
			if i == 1 && k%10 == 0 {
				target.DiesAt = 200 * time.Millisecond
			}
			cfg.Targets = append(cfg.Targets, target)
			cfg.Initiators = append(cfg.Initiators, fabric.Initiator{Disks: []int{k, (k + 1) % many, (k + 7) % many}, Requests: 2, Claims: 6})
		}
		var err error
		if results[i], err = runFabric(o.First, cfg); err != nil {
			return t, err
		}
	}
	for _, dead := range []bool{false, true} {
		disks, before, after, worst, longest := 0, 0, 0, 1.0, time.Duration(0)
		for k, d := range results[1].Disks {
			if d.Target%10 == 0 != dead {
				continue
			}
			disks++
			was := results[0].Disks[k].Requests
			before, after = before+was, after+d.Requests
			worst = min(worst, float64(d.Requests)/float64(max(was, 1)))
			longest = max(longest, d.Worst())
		}
		name := "of living targets"
		if dead {
			name = "of dead ones"
			check(after == 0, "dead targets did %d requests", after)
		} else {
			check(worst >= 0.5, "a disk beside dead targets does %.0f %% of what it did", 100*worst)
		}
		t.Rows = append(t.Rows, []string{fmt.Sprintf("%d %s", disks, name), fmt.Sprint(before), fmt.Sprint(after), fmt.Sprintf("%.0f %%", 100*worst), fmt.Sprintf("%.1f ms", milliseconds(longest))})
	}
	return t, nil
}
