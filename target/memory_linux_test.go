package target_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"aoe/target"
	"aoe/target/store"
)

// A server with one disk takes less than 32 MiB, all told, after load. The
// server runs in a process of its own, which is this test with asServer set.
func TestResidentMemory(t *testing.T) {
	const asServer, limitKiB = "AOE_TEST_RESIDENT", 32 << 10
	if os.Getenv(asServer) == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "-test.run=^TestResidentMemory$", "-test.v")
		cmd.Env = append(os.Environ(), asServer+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, after, _ := strings.Cut(string(out), "peak ")
		kib, err := strconv.Atoi(strings.Fields(after + " -")[0])
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%d KiB", kib)
		if kib > limitKiB && !target.RaceDetector {
			t.Errorf("%d KiB resident, want less than %d", kib, limitKiB)
		}
		return
	}
	st, err := store.Open(store.Config{Path: image(t, 64<<20)})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: torn{st}, Mode: target.ModeFlush})
	for i := range 1000 {
		for range 16 { // so that buffers are held
			r.tap.in <- r.write(e11, uint64(i*16%(64<<11-32)), sectors(16, 1))
		}
		for range 16 {
			r.next(r.tap)
		}
	}
	t.Logf("peak %d KiB", peakKiB(t))
}

// peakKiB is the largest resident size that this process has had.
func peakKiB(t *testing.T) int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmHWM in /proc/self/status")
	return 0
}
