package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"aoe/cmd/internal/rundir"
)

// An Outcome is how a run of the recipe came out.
type Outcome string

// The outcomes.
const (
	Survived  Outcome = "survived"
	Hung      Outcome = "hung"       // nothing moved any more
	Slow      Outcome = "slow"       // not done in time, but still moving
	WrongPage Outcome = "wrong page" // a page was not what had been written to it
	IOError   Outcome = "I/O error"  // a page could not be read back, or the disk failed
	OOM       Outcome = "OOM"        // the kernel killed somebody for want of memory
	Failed    Outcome = "failed"     // something else, which the log says
)

// A Trial is one run of the recipe.
type Trial struct {
	Run     int           `json:"run"`
	Outcome Outcome       `json:"outcome"`
	Took    time.Duration `json:"nanoseconds"` // of the script
	Phase   string        `json:"phase"`       // how far the program got: "random 24576/49152"
	// PagesIn and PagesOut were swapped, as last told.
	PagesIn  int64 `json:"pagesIn"`
	PagesOut int64 `json:"pagesOut"`
	// Flooded is the number of foreign frames that were sent.
	Flooded uint64 `json:"flooded"`
	// Forged is the number of forged answers that were sent.
	Forged uint64 `json:"forged"`
	// WorstStall is the longest that the program waited for a page. Of a hung
	// run, which waits still, it is how long nothing moved.
	WorstStall time.Duration `json:"worstStallNanoseconds"`
	// Disk is what aoe stat told of the disk; nil if it could not, or if the
	// initiator is not ours.
	Disk *rundir.Status `json:"disk,omitempty"`
	// Why explains an outcome that is not Survived: what is blocked where.
	Why []string `json:"why,omitempty"`
	// Log is all that the guest printed.
	Log []byte `json:"-"`
	// LogPath is where the log was kept, if it was.
	LogPath string `json:"log,omitempty"`
}

// Try runs the recipe once. Tell, unless nil, is called with progress, by one
// goroutine.
func (k *Kernel) Try(ctx context.Context, r Recipe, run int, tell func(string)) (*Trial, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &trial{recipe: r, tell: tell, Trial: Trial{Run: run}}
	if t.tell == nil {
		t.tell = func(string) {}
	}
	m := r.machine()
	m.Watch, m.Tick = t.line, t.tick
	out, err := k.Run(ctx, m)
	if err == nil {
		err = t.err
	}
	if err != nil {
		return nil, err
	}
	t.judge(out)
	return &t.Trial, nil
}

// A trial is a Trial that is under way. It is used by one goroutine.
type trial struct {
	Trial
	recipe Recipe
	tell   func(string)
	err    error // what the harness itself failed at

	ready     bool       // swap is on and the program about to begin
	moved     time.Time  // when anything last moved
	asked     time.Time  // when the kernel was asked first why nothing moves
	toAsk     string     // what it is to be asked yet
	lastLine  time.Time  // of the kernel's
	frames    frameCount // at the target, when anything last moved
	heldStill frameCount // since then
	how       string     // the program ended
	page      string     // that was wrong
	oomKilled string
	stat      bytes.Buffer
	watched   watchLine // the last
	before    watchLine // the one before
}

// A frameCount is what the target's interface received and sent, and how much of
// it was a flood's.
type frameCount struct{ received, sent, flood uint64 }

func (a frameCount) minus(b frameCount) frameCount {
	return frameCount{a.received - b.received, a.sent - b.sent, a.flood - b.flood}
}

// line looks at a line of the guest's.
func (t *trial) line(line string, c *Control) {
	said, ok := Said(line)
	if !ok {
		t.lastLine = time.Now()
	} else if t.note(said) {
		t.move(c)
	}
	if said == "ready" {
		t.tell("swap is on, the program begins")
		t.begin(c)
	}
	t.other(line)
}

// other notes what the kernel and aoe stat said in a line.
func (t *trial) other(line string) {
	if said, ok := Said(line); ok && strings.HasPrefix(said, "stat ") {
		t.stat.WriteString(said[len("stat "):])
	}
	if name := oomVictim(line); name != "" {
		t.oomKilled = name
	}
}

// note notes what the guest's own programs said, and reports whether it shows
// that something moved.
func (t *trial) note(said string) bool {
	switch f := fields(said); {
	case said == "ready":
		t.ready = true
		return true
	case strings.HasPrefix(said, "fill ended"):
		t.how, t.page = f["how"], f["page"]
		t.WorstStall = max(t.WorstStall, micros(f["worst_us"]))
		return true
	case strings.HasPrefix(said, "fill "):
		t.Phase = fmt.Sprintf("%s %s/%s", f["phase"], f["done"], f["of"])
		t.WorstStall = micros(f["worst_us"])
		t.tell(t.Phase + " pages")
		return true
	case strings.HasPrefix(said, "watch"):
		w := parseWatch(said)
		t.before, t.watched = t.watched, w
		t.PagesIn, t.PagesOut = w.in, w.out
		return w.in != t.before.in || w.out != t.before.out
	}
	return false
}

// begin starts what the machine has to live with.
func (t *trial) begin(c *Control) {
	if t.recipe.Flood != 0 {
		t.fail(c, c.Flood(t.recipe.Flood))
	}
	if t.recipe.Forged != 0 {
		t.fail(c, c.Forge(t.recipe.Forged))
	}
	if t.recipe.DeadTarget {
		t.fail(c, c.Silence(t.recipe.Machine.Disks-1))
	}
}

func (t *trial) fail(c *Control, err error) {
	if err != nil && t.err == nil {
		t.err = err
		c.Stop()
	}
}

// move notes that something moved.
func (t *trial) move(c *Control) {
	t.moved = time.Now()
	n, err := c.targetFrames()
	t.fail(c, err)
	t.frames = n
}

// Times around a guest that hangs.
const (
	settle    = 4 * time.Second  // without a line: the kernel has said all it was asked for
	tooLong   = 90 * time.Second // for it to say all
	sysrqKeys = "mwt"            // memory, blocked tasks, all tasks: Documentation/admin-guide/sysrq.rst
)

// tick looks whether anything moves, and asks the guest's kernel if not.
func (t *trial) tick(c *Control) {
	t.Flooded, t.Forged = c.Flooded(), c.Forged()
	if !t.ready || t.how != "" {
		return
	}
	still := time.Since(t.moved)
	switch {
	case t.asked.IsZero() && still > t.recipe.Stall:
		t.tell(fmt.Sprintf("nothing moved for %s: asking the kernel why", still.Round(time.Second)))
		n, err := c.targetFrames()
		t.fail(c, err)
		t.heldStill = n.minus(t.frames)
		t.WorstStall = max(t.WorstStall, still)
		t.asked, t.toAsk = time.Now(), sysrqKeys
	case t.asked.IsZero():
	case time.Since(t.asked) > tooLong || t.toAsk == "" && time.Since(t.lastLine) > settle:
		c.Stop()
	case t.toAsk != "" && time.Since(t.lastLine) > settle:
		t.lastLine = time.Now()
		t.fail(c, c.SysRq(t.toAsk[0]))
		t.toAsk = t.toAsk[1:]
	}
}

// judge decides what the run came to.
func (t *trial) judge(out *Output) {
	t.Took, t.Log = out.Took, out.Serial
	var disks []rundir.Status
	if err := json.Unmarshal(t.stat.Bytes(), &disks); err == nil && len(disks) > 0 {
		t.Disk = &disks[0]
	}
	switch {
	case t.how == "ok" && out.End == Exited && out.Status == 0:
		t.Outcome = Survived
		return
	case t.how == "wrong":
		t.Outcome = WrongPage
	case t.how == "unreadable":
		t.Outcome = IOError
	case bytes.Contains(out.Serial, []byte("I/O error, dev ")):
		t.Outcome = IOError // whatever came of it
	case t.oomKilled != "":
		t.Outcome = OOM
	case !t.asked.IsZero():
		t.Outcome = Hung
	case out.End == TimedOut && t.ready:
		t.Outcome = Slow
	default:
		t.Outcome = Failed
	}
	t.Why = t.explain(out)
}

// targetFrames is what the target's interface received, and sent without what was
// forged in its name.
func (c *Control) targetFrames() (frameCount, error) {
	forged := c.Forged() // first: there are never more of them than were sent
	sent, received, err := c.net.Hosts[targetHost].Counters()
	return frameCount{received, sent - min(forged, sent), c.Flooded()}, err
}

// fields are the key=value of a line.
func fields(said string) map[string]string {
	m := map[string]string{}
	for word := range strings.FieldsSeq(said) {
		if k, v, ok := strings.Cut(word, "="); ok {
			m[k] = v
		}
	}
	return m
}

func micros(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64) // a line that was cut short says nothing: 0
	return time.Duration(n) * time.Microsecond
}

// A watchLine is what the watcher told.
type watchLine struct{ in, out, free, writeback, stalls, rx, rxDropped, tx int64 }

func parseWatch(said string) (w watchLine) {
	f := fields(said)
	for key, p := range map[string]*int64{
		"in": &w.in, "out": &w.out, "free": &w.free, "writeback": &w.writeback, "stalls": &w.stalls,
		"rx": &w.rx, "rx_dropped": &w.rxDropped, "tx": &w.tx,
	} {
		*p, _ = strconv.ParseInt(f[key], 10, 64) // as above
	}
	return w
}

// oomVictim is who was killed, if the line tells of that: "Out of memory: Killed
// process 123 (aoe) total-vm:...".
func oomVictim(line string) string {
	_, rest, ok := strings.Cut(line, "Out of memory: Killed process ")
	if !ok {
		return ""
	}
	_, rest, _ = strings.Cut(rest, "(")
	name, _, _ := strings.Cut(rest, ")")
	return name
}
