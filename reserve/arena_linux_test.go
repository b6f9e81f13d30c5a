package reserve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestAlignment: Data[Headroom] is where Config.Align wants it, in the reserve
// and in slabs; buffers neither overlap nor share a cache line.
func TestAlignment(t *testing.T) {
	for _, c := range []struct{ size, headroom, align, stride int }{
		{1514, 0, 0, 1536},
		{1514, 36, 64, 1600}, // begins 28 bytes into a line, which costs one more
		{9014, 0, 64, 9024},
		{9014, 36, 0, 9088},
		{9014, 36, 512, 9216},
		{9014, 36, 4096, 12288},
		{64, 0, 64, 64},
		{64, 36, 64, 128},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			r, err := New(Config{BufferSize: c.size, Headroom: c.headroom, Align: c.align,
				Reserve: 5, Normal: 7, Slab: 3 * c.stride, KeepAvailable: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.NewStock(7, 1)
			if r.layout.stride != c.stride || r.slabs.mapped != 7 {
				t.Fatalf("stride %d, %d of normal memory, want %d, 7", r.layout.stride, r.slabs.mapped, c.stride)
			}
			lines := map[uintptr]int32{}
			for i := range r.buffers {
				b := &r.buffers[i]
				at := uintptr(unsafe.Pointer(&b.Data[0]))
				if (at+uintptr(c.headroom))%uintptr(max(c.align, 64)) != 0 || len(b.Data) != c.size || cap(b.Data) != c.size {
					t.Errorf("buffer %d: %d bytes at %#x", i, len(b.Data), at)
				}
				for line := at / 64; line <= (at+uintptr(c.size)-1)/64; line++ {
					if other, taken := lines[line]; taken {
						t.Fatalf("buffers %d and %d share a cache line", b.index, other)
					}
					lines[line] = b.index
				}
			}
		})
	}
}

// TestMemoryIsThere: New and growing leave no page to be found later.
func TestMemoryIsThere(t *testing.T) {
	r, err := New(Config{BufferSize: 9014, Reserve: 64, Normal: 64, KeepAvailable: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.NewStock(32, 1)
	mappings := [][]byte{r.arena}
	for i := range r.slabs.all {
		if m := r.slabs.all[i].mapping; m != nil {
			mappings = append(mappings, m)
		}
	}
	if len(mappings) < 2 {
		t.Fatal("no slab was mapped")
	}
	for i, m := range mappings {
		resident := make([]byte, (len(m)+os.Getpagesize()-1)/os.Getpagesize())
		if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&resident[0]))); e != 0 {
			t.Skip("needs mincore(2):", e)
		}
		for page, in := range resident {
			if in&1 == 0 {
				t.Errorf("mapping %d: page %d of %d is not in memory", i, page, len(resident))
			}
		}
	}
}

func TestMeminfo(t *testing.T) {
	const text = "MemTotal:       24684092 kB\nMemFree:        24455720 kB\nMemAvailable:   24404416 kB\n"
	for _, c := range []struct {
		text, name string
		want       int64
	}{
		{text, "MemTotal:", 24684092 << 10},
		{text, "MemAvailable:", 24404416 << 10},
		{text, "SwapFree:", unknown},
		{"", "MemTotal:", unknown},
		{"MemTotal:", "MemTotal:", 0},
	} {
		if got := parseMeminfo([]byte(c.text), c.name); got != c.want {
			t.Errorf("%s in %q: %d, want %d", c.name, c.text, got, c.want)
		}
	}
	mem, err := systemMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer mem.close()
	if total, avail := mem.total(), mem.available(); avail > total || avail < 1<<20 {
		t.Errorf("%d of %d bytes available", avail, total)
	}
}

// inChild runs the rest of the test in a process of its own, because it limits
// what the process may have, and reports whether this is that process.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv("RESERVE_TEST_CHILD") == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "RESERVE_TEST_CHILD="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	return false
}

// status reads a field in KiB of /proc/self/status, in bytes.
func status(t *testing.T, name string) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s in /proc/self/status", name)
	return 0
}

// TestRealENOMEM: the system has no more memory for us, for real (RLIMIT_AS).
// The reserve carries everything on, and normal memory comes back with it.
func TestRealENOMEM(t *testing.T) {
	if !inChild(t) {
		return
	}
	const size, mib = 1 << 16, 1 << 20
	r, err := New(Config{BufferSize: size, Reserve: 32, Normal: 256 * mib / size, Slab: 4 * mib, KeepAvailable: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var grants []*Grant
	for range 256 {
		grants = append(grants, r.NewGrant(16))
	}
	s := r.NewStock(64, 8)
	debug.SetGCPercent(-1)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &old); err != nil {
		t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: status(t, "VmSize") + 64*mib, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
		t.Fatal(err)
	}
	admitted := 0
	for admitted < len(grants) && r.TryAdmit(grants[admitted], 16) {
		admitted++
	}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &old); err != nil {
		t.Fatal(err)
	}
	st := r.Stats()
	t.Logf("%d claims of 1 MiB admitted; %+v", admitted, st)
	if st.Regime != Crunch || st.GrowthFailures == 0 || st.FromReserve == 0 || st.SlabsMapped < 4 || admitted == len(grants) {
		t.Errorf("want a crunch, with the reserve in use")
	}
	if n := len(s.Frames()); n != 8 {
		t.Errorf("%d slots in crunch, want 8", n)
	}
	for _, g := range grants[:admitted] {
		g.Release()
	}
	for range maxPatience {
		if !r.TryAdmit(grants[0], 16) {
			t.Fatal("not admitted")
		}
		grants[0].Release()
	}
	if r.Regime() != Normal || len(s.Frames()) != 64 {
		t.Errorf("still %s", r.Regime())
	}
}

// TestRealENOMEMAtStart: New fails at once, and not later, when the reserve
// cannot be had.
func TestRealENOMEMAtStart(t *testing.T) {
	if !inChild(t) {
		return
	}
	limit := unix.Rlimit{Cur: status(t, "VmSize") + 32<<20, Max: status(t, "VmSize") + 32<<20}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{BufferSize: 1 << 20, Reserve: 128})
	if !errors.Is(err, unix.ENOMEM) || !strings.Contains(fmt.Sprint(err), "128 buffers of 1048576 bytes") {
		t.Errorf("%v", err)
	}
}

// TestLock: a locked reserve is locked, slabs and all.
func TestLock(t *testing.T) {
	before := status(t, "VmLck")
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < 1<<20 && os.Geteuid() != 0 {
		t.Skip("needs to lock 1 MiB: ulimit -l 1024, or run as root")
	}
	r, err := New(Config{BufferSize: 9014, Reserve: 16, Normal: 16, Lock: true, KeepAvailable: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.NewStock(16, 1)
	if locked, st := status(t, "VmLck")-before, r.Stats(); locked != uint64(st.MappedBytes) || st.Normal != 16 {
		t.Errorf("%d bytes locked, %d mapped", locked, st.MappedBytes)
	}
}

// TestLockRefused: the error says what to do about it.
func TestLockRefused(t *testing.T) {
	if !inChild(t) {
		return
	}
	runtime.LockOSThread() // capabilities are the thread's
	dropCapability(t, unix.CAP_IPC_LOCK)
	for _, c := range []struct {
		limit uint64
		want  error
	}{{1 << 16, unix.ENOMEM}, {0, unix.EPERM}} {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: c.limit, Max: c.limit}); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{BufferSize: 9014, Reserve: 64, Lock: true})
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), "RLIMIT_MEMLOCK") || !strings.Contains(fmt.Sprint(err), "CAP_IPC_LOCK") {
			t.Errorf("limit %d: %v", c.limit, err)
		}
		t.Log(err)
	}
}

// dropCapability clears a capability of the calling thread.
func dropCapability(t *testing.T, capability int) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	data[capability/32].Permitted &^= 1 << (capability % 32)
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}
