package guest

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Linux's own driver, and iPXE, use a disk of aoe serve. A short part is told
// always; AOE_GUEST=1 tells all of it.

//go:embed testdata/kernel.sh
var kernelScript string

// untilScript is what kernelScript and takeOverScript have in common.
//
//go:embed testdata/until.sh
var untilScript string

const (
	peerDisk = 64 << 20
	// flapTime is how long the target's interface is down.
	flapTime = 10 * time.Second
)

// needLong skips what takes minutes.
func needLong(t *testing.T, run string) {
	t.Helper()
	if os.Getenv("AOE_GUEST") == "" {
		t.Skipf("takes minutes: AOE_GUEST=1 go test -timeout 60m -run %s ./cmd/internal/guest", run)
	}
}

// aoetools are the scripts that people use with the driver.
func aoetools(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"aoe-stat", "aoe-discover", "aoe-revalidate", "aoe-interfaces"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("needs %s: apt-get install aoetools", name)
		}
		files["bin/"+name] = path
	}
	return files
}

// A story is what Linux's driver does with a disk of ours.
type story struct {
	kernel     string
	mtu        int
	interfaces int
	parts      string
	checkBytes int
	capture    func([]byte)
}

// tell runs the story and returns what the guest printed.
func (s story) tell(t *testing.T) string {
	t.Helper()
	k := prepareKernel(t, s.kernel)
	var netif []string
	for i := range s.interfaces {
		netif = append(netif, interfaceName(i))
	}
	events := &outside{t: t}
	m := Machine{
		Script: fmt.Sprintf("AOE_STORY='%s' AOE_NETIF=%s AOE_SECTORS=%d AOE_GROWN=%d AOE_CHECK=%d\n%s",
			s.parts, strings.Join(netif, ","), peerDisk/512, 2*peerDisk/512, s.checkBytes, untilScript+kernelScript),
		MemoryBytes: 256 << 20, MTU: s.mtu, Interfaces: s.interfaces, DiskBytes: peerDisk, Target: "serve",
		Modules: []string{"aoe", "crc32c_generic", "ext4"}, Files: aoetools(t),
		Timeout: 15 * time.Minute, Watch: events.line, Tick: events.tick, Capture: s.capture,
		Ended: func(out *Output, paths []string) error {
			if out.Status == 0 && strings.Contains(s.parts, "mkfs") {
				fsck(t, paths[0])
			}
			return nil
		},
	}
	out, err := k.Run(t.Context(), m)
	if err != nil {
		t.Error(err)
	}
	if out == nil {
		t.FailNow()
	}
	log := string(out.Serial)
	if out.End != Exited || out.Status != 0 || !strings.Contains(log, "== done") {
		t.Fatalf("ended with %s, status %d, after %v:\n%s", out.End, out.Status, out.Took, log)
	}
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "[") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("took %v", out.Took)
	return log
}

// fsck looks at the file system that Linux has made on the disk, from outside.
func fsck(t *testing.T, path string) {
	t.Helper()
	if _, err := exec.LookPath("e2fsck"); err != nil {
		t.Skip("needs e2fsck: apt-get install e2fsprogs")
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// outside does what the guest's script asks for. It is used by one goroutine.
type outside struct {
	t      *testing.T
	downAt time.Time // of the target's first interface, if it is to come up again
}

func (o *outside) line(line string, c *Control) {
	var err error
	switch said, _ := Said(line); said {
	case "grow":
		err = c.Grow(0, 2*peerDisk)
	case "flap":
		o.downAt = time.Now()
		err = c.SetTargetUp(0, false)
	case "cut":
		err = c.SetTargetUp(0, false)
	}
	o.fail(c, err)
}

func (o *outside) tick(c *Control) {
	if !o.downAt.IsZero() && time.Since(o.downAt) >= flapTime {
		o.downAt = time.Time{}
		o.fail(c, c.SetTargetUp(0, true))
	}
}

func (o *outside) fail(c *Control, err error) {
	if err != nil {
		o.t.Error(err)
		c.Stop()
	}
}

// TestLinuxDriver: discovery, what aoe-stat tells, data from several sides at
// once, a file system that e2fsck finds whole.
func TestLinuxDriver(t *testing.T) {
	r := newRecorder("Linux")
	log := story{
		kernel: "6.12", mtu: 9000, interfaces: 1, parts: "discovery capture data mkfs", checkBytes: 4 << 20, capture: r.record,
	}.tell(t)
	r.end(t, "linux.txt", "The aoe driver of Linux "+between(log, "Linux version ", " ")+" uses aoe serve")
}

// TestLinuxDriverMatrix: the same with more data, on two kernels and two MTUs; the
// disk grows while it is used; the target's interface is down for ten seconds; of
// two interfaces one goes away.
func TestLinuxDriverMatrix(t *testing.T) {
	needLong(t, "TestLinuxDriverMatrix")
	for _, kernel := range []string{"6.12", "6.1"} {
		for _, mtu := range []int{9000, 1500} {
			t.Run(fmt.Sprintf("Linux %s, MTU %d", kernel, mtu), func(t *testing.T) {
				log := story{kernel: kernel, mtu: mtu, interfaces: 1, parts: "discovery data mkfs grow flap", checkBytes: 32 << 20}.tell(t)
				// The flap was one: requests waited for the interface.
				if worst := worstRequest(t, log); worst < flapTime/2 {
					t.Errorf("no request waited longer than %v while the interface was down for %v", worst, flapTime)
				}
			})
			t.Run(fmt.Sprintf("Linux %s, MTU %d, two interfaces", kernel, mtu), func(t *testing.T) {
				story{kernel: kernel, mtu: mtu, interfaces: 2, parts: "discovery data path mkfs", checkBytes: 8 << 20}.tell(t)
			})
		}
	}
}

// TestTestsScripts: the guest's shell can read them, whether or not they are run.
func TestTestsScripts(t *testing.T) {
	for name, script := range map[string]string{"until.sh": untilScript, "kernel.sh": kernelScript, "takeover.sh": takeOverScript} {
		check := exec.Command("sh", "-n")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

var checked = regexp.MustCompile(`checked \d+ bytes at \d+ of \S+, worst request (\d+) ms`)

// worstRequest is the longest that a request of the last check took.
func worstRequest(t *testing.T, log string) time.Duration {
	t.Helper()
	all := checked.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		t.Fatal("nothing was checked")
	}
	ms, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms) * time.Millisecond
}

// TestIPXE: a disk of ours boots a PC by iPXE, whose int 13h reads and writes it.
func TestIPXE(t *testing.T) {
	k := prepare(t)
	if err := MissingIPXE(); err != nil {
		t.Skip(err)
	}
	r := newRecorder("iPXE")
	out, err := k.Netboot(t.Context(), Machine{MTU: 1500, DiskBytes: 32 << 20, Target: "serve", Capture: r.record})
	if err != nil {
		t.Fatal(err)
	}
	if out.End != Exited || out.Status != 0 {
		t.Fatalf("ended with %s, status %d:\n%s", out.End, out.Status, out.Serial)
	}
	t.Logf("took %v", out.Took)
	r.end(t, "ipxe.txt", "iPXE of Debian's package ipxe "+version(t, "ipxe")+" boots from aoe serve")
}

// version is that of a Debian package, for the record.
func version(t *testing.T, pkg string) string {
	t.Helper()
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", pkg).Output()
	if err != nil {
		t.Log(err)
		return "of unknown version"
	}
	return string(out)
}
