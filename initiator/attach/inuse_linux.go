package attach

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// detachPatience is how long programs that merely have the device open, such
// as udev after a change, may take to close it.
const detachPatience = 5 * time.Second

// claimDevice opens the block device at path for nobody else to begin to use
// it, or says with an *InUseError who uses it. open(2): "if the block device is
// in use by the system (e.g., mounted), open() fails with the error EBUSY".
// This finds mounts in any namespace, swap, and what is stacked on the device;
// as long as it is open, none of them can begin.
func claimDevice(path string) (*os.File, error) {
	claim, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, &InUseError{Device: path, By: usersOf(path)}
	}
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	return claim, nil
}

// usersOf says who uses the block device at path, as far as can be found out
// from here: mounts in other namespaces cannot.
func usersOf(path string) []string {
	device := strings.TrimPrefix(path, "/dev/")
	names := []string{device}
	partitions, _ := filepath.Glob(filepath.Join("/sys/block", device, device+"p*"))
	for _, p := range partitions {
		names = append(names, filepath.Base(p))
	}
	var by []string
	for _, name := range names {
		by = append(by, mountsOf("/dev/"+name, deviceNumber(name))...)
		by = append(by, swapsOf("/dev/"+name)...)
		held, _ := filepath.Glob(filepath.Join("/sys/class/block", name, "holders/*"))
		for _, h := range held {
			by = append(by, "part of /dev/"+filepath.Base(h))
		}
	}
	if len(by) == 0 {
		by = openersOf(path)
	}
	return by
}

// deviceNumber is "7:3" for "loop3".
func deviceNumber(name string) string {
	text, err := os.ReadFile(filepath.Join("/sys/class/block", name, "dev"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// A mount is a line of /proc/self/mountinfo.
type mount struct {
	device string // "7:3"
	point  string
	kind   string
	source string
}

func mounts() []mount {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer file.Close()
	var all []mount
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if m, ok := parseMount(lines.Text()); ok {
			all = append(all, m)
		}
	}
	return all
}

// parseMount reads a line as proc_pid_mountinfo(5) describes it:
// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
// with any number of optional fields before the separator.
func parseMount(line string) (mount, bool) {
	fields := strings.Fields(line)
	dash := slices.Index(fields, "-")
	if dash < 6 || len(fields) < dash+3 {
		return mount{}, false
	}
	return mount{
		device: fields[2],
		point:  unescapeOctal(fields[4]),
		kind:   fields[dash+1],
		source: unescapeOctal(fields[dash+2]),
	}, true
}

// unescapeOctal undoes what the kernel does to white space and backslashes:
// "\040" is a space.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1]) && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

func mountsOf(path, number string) []string {
	var by []string
	for _, m := range mounts() {
		if m.device == number || m.source == path {
			by = append(by, "mounted on "+m.point)
		}
	}
	return by
}

// swapsOf looks into /proc/swaps, whose first column is the device.
func swapsOf(path string) []string {
	text, _ := os.ReadFile("/proc/swaps")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 && unescapeOctal(fields[0]) == path {
			return []string{"used as swap"}
		}
	}
	return nil
}

// openersOf are the other processes that have the device open, as far as we
// may look.
func openersOf(path string) []string {
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	own := fmt.Sprint(os.Getpid())
	var by []string
	for _, d := range descriptors {
		if target, err := os.Readlink(d); err != nil || target != path {
			continue
		}
		pid := strings.Split(d, "/")[2]
		if pid == own {
			continue
		}
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		if who := fmt.Sprintf("open in process %s (%s)", pid, strings.TrimSpace(string(name))); !slices.Contains(by, who) {
			by = append(by, who)
		}
	}
	return by
}
