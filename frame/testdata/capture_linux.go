// Capture records what vblade and aoetools say to each other, and what vblade
// answers to frames made by hand, as the golden frames of package frame. Run it
// as root, with vblade and aoetools installed, at the top of the repository:
//
//	go run ./frame/testdata/capture_linux.go >frame/testdata/peers.txt
//
// It makes two hosts, network namespaces that end with it, and is itself the
// cable between them: like the network cards that veth lacks, it pads frames to
// 60 bytes (aoeping and aoecfg wait for ever for vblade's unpadded answers). What
// is recorded is what the peers sent, before padding. It takes half a minute,
// most of it spent in the time-outs of aoecfg and aoe-sancheck.
package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	aoe       = 0x88a2
	target    = "020000000001"
	initiator = "020000000002"
	other     = "020000000003"
	mtu       = 2200 // room for a reserve list of 255 MACs, and for four sectors
)

// A step is something that makes frames: a command of aoetools, or frames made
// by hand that are sent to vblade one after the other.
type step struct {
	command string   // in the initiator's namespace
	says    string   // what the frame by hand asks
	frame   []string // by hand: hexadecimal, joined, behind dst, src and EtherType
	from    string   // by hand: its source, the initiator if empty
	to      string   // by hand: its destination, the target if empty
}

// hdr is a common header, from version and flags to the tag, for e1.1.
func hdr(command, tag string) string { return "10 00 0001 01 " + command + " " + tag }

// ata is an ATA request of a given flags, feature, count, command, LBA.
func ata(tag, regs string, data ...string) []string {
	return append([]string{hdr("00", tag), regs, "0000"}, data...)
}

func zeros(n int) string { return strings.Repeat("00", n) }

// macs is n entries that start with prefix, numbered MAC addresses.
func macs(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s0200000001%02x", prefix, i)
	}
	return b.String()
}

func steps() []step {
	sector := strings.Repeat("416f4521", 512/4) // AoE!
	return []step{
		{command: "aoeping -v 1 1 i0"},
		{command: "aoeping -i -t 7 1 1 i0"},
		{command: "aoeping -S status 1 1 i0"},
		{command: "aoecfg -t 1 i0"},
		{command: "aoecfg -t 1 -c set -s shelf-one 1 1 i0"},
		{command: "aoecfg -t 1 -c set -s shelf-one 1 1 i0"},
		{command: "aoecfg -t 1 -c set -s other 1 1 i0"},
		{command: "aoecfg -t 1 -c test -s shelf-one 1 1 i0"},
		{command: "aoecfg -t 1 -c test -s shelf 1 1 i0"},
		{command: "aoecfg -t 1 -c prefix -s shelf 1 1 i0"},
		{command: "aoecfg -t 1 -c prefix -s other 1 1 i0"},
		{command: "aoecfg -t 1 -c fset -s forced 1 1 i0"},
		{command: "aoecfg -t 1 -c read 1 1 i0"},
		{command: "aoe-sancheck -v"},

		{says: "config sub-command 9", frame: []string{hdr("01", "00000020"), "0000 0000 00 09 0000"}},
		{says: "config read of any slot", frame: []string{"10 00 0001 ff 01 00000021", "0000 0000 00 00 0000"}, to: "ffffffffffff"},
		{says: "vendor command", frame: []string{hdr("f0", "00000022"), "cafe"}},

		{says: "WRITE SECTORS EXT", frame: ata("00000030", "41 00 01 34 050000000000", sector)},
		{says: "READ SECTORS EXT", frame: ata("00000031", "40 00 01 24 050000000000")},
		{says: "READ SECTORS, device register's bits in LBA", frame: ata("00000032", "00 00 01 20 050000e00000")},
		{says: "WRITE SECTORS", frame: ata("00000033", "01 00 01 30 060000000000", sector)},
		{says: "WRITE SECTORS EXT without its data", frame: ata("00000034", "41 00 02 34 050000000000", sector)},
		{says: "READ SECTORS EXT behind the end", frame: ata("00000035", "40 00 01 24 004000000000")},
		{says: "FLUSH CACHE", frame: ata("00000036", "00 00 00 e7 000000000000")},
		{says: "FLUSH CACHE EXT", frame: ata("00000037", "40 00 00 ea 000000000000")},
		{says: "CHECK POWER MODE", frame: ata("00000038", "00 00 00 e5 000000000000")},
		{says: "DATA SET MANAGEMENT, TRIM", frame: ata("00000039", "41 01 01 06 000000000000", "0500000000000100", zeros(504))},

		{says: "mask read", frame: []string{hdr("02", "00000040"), "00 00 00 00"}},
		{says: "mask edit: nop, add, add, delete", frame: []string{hdr("02", "00000041"), "00 01 00 04",
			"00 00 000000000000", "00 01" + initiator, "00 01" + other, "00 02" + other}},
		{says: "mask edit: bad directive behind a good one", frame: []string{hdr("02", "00000042"), "00 01 00 02",
			"00 01" + other, "00 07" + other}},
		{says: "mask sub-command 9", frame: []string{hdr("02", "00000043"), "00 09 00 00"}},
		{says: "mask edit: fill the list", frame: []string{hdr("02", "00000044"), "00 01 00 28", macs("0001", 40)}},
		{says: "mask edit: add to a full list", frame: []string{hdr("02", "00000045"), "00 01 00 01", "00 01 020000000099"}},
		{says: "config read by a MAC that is not on the list: silence", frame: []string{hdr("01", "00000046"),
			"0000 0000 00 00 0000"}, from: "020000000098"},

		{says: "reserve read", frame: []string{hdr("03", "00000050"), "00 00"}},
		{says: "reserve set: two MACs", frame: []string{hdr("03", "00000051"), "01 02", initiator, other}},
		{says: "reserve read with a list", frame: []string{hdr("03", "00000052"), "00 00"}},
		{says: "reserve set: one other MAC", frame: []string{hdr("03", "00000053"), "01 01", other}},
		{says: "reserve set by a MAC that is not on the list", frame: []string{hdr("03", "00000054"), "01 00"}},
		{says: "READ SECTORS EXT by a MAC that is not on the list", frame: ata("00000055", "40 00 01 24 050000000000")},
		{says: "IDENTIFY DEVICE by a MAC that is not on the list", frame: ata("00000056", "00 00 01 ec 000000000000")},
		{says: "reserve force set: 255 MACs", frame: []string{hdr("03", "00000059"), "02 ff", macs("", 255)}},
		{says: "reserve force set: none", frame: []string{hdr("03", "00000057"), "02 00"}},
		{says: "reserve sub-command 9", frame: []string{hdr("03", "00000058"), "09 00"}},
	}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("capture: ")
	// Namespaces belong to threads, and so does what is started from here.
	runtime.LockOSThread()
	must(unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS))
	// vblade makes its serial number of the host's name.
	must(unix.Sethostname([]byte("golden")))

	dir, err := os.MkdirTemp("", "capture")
	must(err)
	defer os.RemoveAll(dir)
	disk := filepath.Join(dir, "disk.img")
	must(os.WriteFile(disk, nil, 0o600))
	must(os.Truncate(disk, 8<<20))

	t := newHost("t", target)
	defer t.end()
	i := newHost("i", initiator)
	defer i.end()
	c := &cable{near: port("i1"), far: port("t1")}
	go c.relay(c.near, c.far, "")
	go c.relay(c.far, c.near, "vblade")

	fmt.Printf("# vblade %s, aoetools %s. Made by capture_linux.go.\n", version("vblade"), version("aoetools"))
	fmt.Println("# Behind its string aoecfg sends a kilobyte of its stack, which is shown as ee.")
	c.begin("vblade 1 1 t0 disk.img")
	vblade := t.command("vblade", "1", "1", "t0", disk)
	must(vblade.Start())
	defer vblade.Wait()
	defer vblade.Process.Kill()
	c.end()
	for _, s := range steps() {
		if s.command != "" {
			c.begin(s.command)
			args := strings.Fields(s.command)
			cmd := i.command("timeout", append([]string{"-s", "INT", "20"}, args...)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				log.Printf("%s: %v: %s", s.command, err, out)
			}
		} else {
			c.begin(s.says)
			c.send(s)
		}
		c.end()
	}
}

// A host is a network namespace, held by a process that sleeps.
type host struct{ holder *exec.Cmd }

func newHost(name, mac string) *host {
	h := &host{exec.Command("unshare", "-n", "sleep", "600")}
	h.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(h.holder.Start())
	own, err := os.Readlink("/proc/thread-self/ns/net")
	must(err)
	pid := strconv.Itoa(h.holder.Process.Pid)
	for { // until unshare has done so
		theirs, err := os.Readlink("/proc/" + pid + "/ns/net")
		must(err)
		if theirs != own {
			break
		}
		time.Sleep(time.Millisecond)
	}
	run("ip", "link", "add", name+"0", "mtu", strconv.Itoa(mtu), "address", colons(mac), "type", "veth",
		"peer", "name", name+"1", "mtu", strconv.Itoa(mtu))
	run("ip", "link", "set", name+"0", "netns", pid)
	run("ip", "link", "set", name+"1", "up")
	must(h.command("ip", "link", "set", name+"0", "up").Run())
	return h
}

func (h *host) command(name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(h.holder.Process.Pid)
	cmd := exec.Command("nsenter", append([]string{"-t", pid, "-n", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (h *host) end() {
	h.holder.Process.Kill()
	h.holder.Wait()
}

// A cable joins the two hosts and writes down what passes.
type cable struct {
	near, far int // packet sockets
	mu        sync.Mutex
	step      string
	last      time.Time
}

func port(name string) int {
	i, err := net.InterfaceByName(name)
	must(err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, aoe>>8|aoe&0xff<<8)
	must(err)
	must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: aoe>>8 | aoe&0xff<<8, Ifindex: i.Index}))
	return fd
}

// relay carries frames from one port to the other. peer is who speaks; if it is
// empty, the command that is running is.
func (c *cable) relay(from, to int, peer string) {
	b := make([]byte, 1<<16)
	for {
		n, sa, err := unix.Recvfrom(from, b, 0)
		if err == unix.ENETDOWN {
			return // a host has ended
		}
		must(err)
		if sa.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		c.record(peer, b[:n])
		c.put(to, b[:n])
	}
}

func (c *cable) put(to int, frame []byte) {
	if len(frame) < 60 {
		frame = append(bytes.Clone(frame), make([]byte, 60-len(frame))...)
	}
	_, err := unix.Write(to, frame)
	must(err)
}

func (c *cable) begin(step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step, c.last = step, time.Now()
}

// end returns when nothing has been said for a while.
func (c *cable) end() {
	for {
		time.Sleep(50 * time.Millisecond)
		c.mu.Lock()
		quiet := time.Since(c.last) > 400*time.Millisecond
		c.mu.Unlock()
		if quiet {
			return
		}
	}
}

func (c *cable) send(s step) {
	from, to := initiator, target
	if s.from != "" {
		from = s.from
	}
	if s.to != "" {
		to = s.to
	}
	frame, err := hex.DecodeString(strings.ReplaceAll(to+from+"88a2"+strings.Join(s.frame, ""), " ", ""))
	must(err)
	c.record("by hand", frame)
	c.put(c.far, frame)
}

// record prints a frame: the fields of the header on the first line, then the
// argument, 32 bytes a line. "xN" means that the line stands N times.
func (c *cable) record(peer string, f []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if peer == "" {
		peer, _, _ = strings.Cut(c.step, " ")
	}
	if peer == "aoecfg" {
		f = bytes.Clone(f)
		for i := 32 + int(f[30])<<8 + int(f[31]); i < len(f); i++ {
			f[i] = 0xee
		}
	}
	fmt.Printf("\n# %s: %s\n", c.step, peer)
	fmt.Printf("%x %x %x %x %x %x %x %x %x\n", f[:6], f[6:12], f[12:14], f[14:15], f[15:16], f[16:18], f[18:19], f[19:20], f[20:24])
	for rest := f[24:]; len(rest) > 0; {
		line := rest[:min(32, len(rest))]
		n := 0
		for bytes.HasPrefix(rest, line) {
			rest = rest[len(line):]
			n++
		}
		if n == 1 {
			fmt.Printf("%x\n", line)
		} else {
			fmt.Printf("%x x%d\n", line, n)
		}
	}
}

func version(pkg string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", pkg).Output()
	if err != nil {
		return "of unknown version"
	}
	return string(out)
}

func colons(mac string) string {
	b, err := hex.DecodeString(mac)
	must(err)
	return net.HardwareAddr(b).String()
}

func run(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		log.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func must(err error) {
	if err != nil {
		log.Panic(err)
	}
}
