package veth_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"

	"golang.org/x/sys/unix"
)

// current names the network namespace of the calling thread.
func current(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAPairIsTwoHostsWithTheirEndsUp(t *testing.T) {
	pair := vethtest.New(t, veth.Config{MTU: 9000})
	for _, h := range []*veth.Host{pair.A, pair.B} {
		err := h.Do(func() error {
			ifi, err := net.InterfaceByName(h.Interface)
			if err != nil {
				return err
			}
			if ifi.MTU != 9000 || ifi.HardwareAddr.String() != h.MAC.String() {
				t.Errorf("interface is %+v, want MTU 9000 and MAC %v", ifi, h.MAC)
			}
			if ifi.Flags&net.FlagUp == 0 || ifi.Flags&net.FlagRunning == 0 {
				t.Errorf("flags %v: want up and running", ifi.Flags)
			}
			all, err := net.Interfaces()
			if len(all) != 2 {
				t.Errorf("interfaces %v: want lo and eth0 alone", all)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A failing or aborted f must not leave a thread of the process in a foreign
// namespace, where the next goroutine would be lost.
func TestDoReturnsHome(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	runtime.LockOSThread()
	home := current(t)
	runtime.UnlockOSThread()

	var inside [2]string
	for i, h := range []*veth.Host{pair.A, pair.B} {
		if err := h.Do(func() error { inside[i] = current(t); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if inside[0] == home || inside[1] == home || inside[0] == inside[1] {
		t.Errorf("home %s, hosts %s: want three namespaces", home, inside)
	}

	boom := errors.New("boom")
	if err := pair.A.Do(func() error { return boom }); err != boom {
		t.Errorf("error %v, want that of f", err)
	}

	// Goexit is what t.Fatal does: the caller must end as well.
	after := make(chan bool, 1)
	go func() {
		defer close(after)
		pair.A.Do(func() error { runtime.Goexit(); return nil })
		after <- true
	}()
	if <-after {
		t.Error("Do returned although f ended its goroutine")
	}

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if got := current(t); got != home {
				t.Errorf("a thread stayed in %s", got)
			}
		})
	}
	wg.Wait()
}

func TestDoNests(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	err := pair.A.Do(func() error {
		before := current(t)
		if err := pair.B.Do(func() error { return nil }); err != nil {
			return err
		}
		if got := current(t); got != before {
			t.Errorf("B's Do moved A's thread to %s", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCommandRunsInside(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	var want string
	pair.B.Do(func() error { want = current(t); return nil })

	out, err := pair.B.Command("readlink", "/proc/self/ns/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("the program ran in %s, want %s", got, want)
	}
	out, err = pair.B.Command("readlink", "/proc/self/ns/net").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != want {
		t.Errorf("the program ran in %s, want %s (%v)", got, want, err)
	}
	if err := pair.B.Command("false").Run(); err == nil {
		t.Error("the exit status of false was lost")
	}
}

// packetSocket opens a socket that sees every frame of the host's interface.
func packetSocket(t *testing.T, h *veth.Host) int {
	t.Helper()
	fd := -1
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(h.Interface)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		tv := unix.NsecToTimeval((5 * time.Second).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func testFrame(dst, src *veth.Host, text string) []byte {
	f := append([]byte{}, dst.MAC[:]...)
	f = append(f, src.MAC[:]...)
	f = append(f, 0x88, 0xb5) // for local experiments (IEEE 802)
	return append(f, text...)
}

// Only what a test sends is on the wire: the first frame it receives is the
// first it sent, and the interfaces counted nothing else.
func TestTheWireIsQuiet(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	b := packetSocket(t, pair.B)
	a := packetSocket(t, pair.A)
	want := testFrame(pair.B, pair.A, "the only frame")
	if _, err := unix.Write(a, want); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	n, err := unix.Read(b, buf)
	if err != nil || string(buf[:n]) != string(want) {
		t.Errorf("received %q, %v; want the frame that was sent", buf[:max(n, 0)], err)
	}
	for name, h := range map[string]*veth.Host{"A": pair.A, "B": pair.B} {
		sent, received, err := h.Counters()
		if err != nil || sent+received != 1 {
			t.Errorf("host %s sent %d and received %d frames (%v): somebody else is on the wire", name, sent, received, err)
		}
	}
}

func TestTheInterfaceCanFlapShrinkAndBeReplaced(t *testing.T) {
	pair := vethtest.New(t, veth.Config{})
	look := func() (ifi *net.Interface) {
		t.Helper()
		err := pair.A.Do(func() (err error) { ifi, err = net.InterfaceByName(pair.A.Interface); return err })
		if err != nil {
			t.Fatal(err)
		}
		return ifi
	}
	first := look()
	for _, up := range []bool{false, true} {
		if err := pair.A.SetUp(up); err != nil {
			t.Fatal(err)
		}
		if got := look().Flags&net.FlagUp != 0; got != up {
			t.Errorf("up is %v, want %v", got, up)
		}
	}
	if err := pair.A.SetMTU(4000); err != nil {
		t.Fatal(err)
	}
	if got := look().MTU; got != 4000 {
		t.Errorf("MTU %d, want 4000", got)
	}
	if err := pair.Recreate(); err != nil {
		t.Fatal(err)
	}
	second := look()
	if second.Index == first.Index || second.HardwareAddr.String() != first.HardwareAddr.String() {
		t.Errorf("the interface %+v was replaced by %+v: want the same MAC and another index", first, second)
	}
}

func TestABridgeJoinsMany(t *testing.T) {
	net := vethtest.NewBridge(t, veth.Config{MTU: 9000}, 4)
	socks := make([]int, len(net.Hosts))
	for i, h := range net.Hosts {
		socks[i] = packetSocket(t, h)
	}
	for i, h := range net.Hosts {
		next := (i + 1) % len(net.Hosts)
		want := testFrame(net.Hosts[next], h, fmt.Sprintf("from host %d %s", i, make([]byte, 8000)))
		if _, err := unix.Write(socks[i], want); err != nil {
			t.Fatal(err)
		}
		// The sockets see everything, also what their own host sends and what
		// the bridge floods before it has learned: look for ours.
		for buf := make([]byte, 10000); ; {
			n, err := unix.Read(socks[next], buf)
			if err != nil {
				t.Fatalf("host %d never received from host %d: %v", next, i, err)
			}
			if string(buf[:n]) == string(want) {
				break
			}
		}
	}
}

// TestMain is also the process that TestAKilledProcessLeavesNothing kills.
func TestMain(m *testing.M) {
	if os.Getenv("VETH_TEST_HOLD") != "" {
		pair, err := veth.New(veth.Config{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		err = pair.A.Do(func() error {
			s, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
			fmt.Println(s)
			return err
		})
		if err != nil {
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// A namespace is gone when no process and no file descriptor holds it. That
// cannot be asked for directly; what can be seen is that nothing of it is left
// in a place that outlives a process: no name, no mount.
func TestAKilledProcessLeavesNothing(t *testing.T) {
	vethtest.New(t, veth.Config{}) // skips without permission
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := mounts()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "VETH_TEST_HOLD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, err := out.Read(line)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil || !strings.HasPrefix(string(line), "net:[") {
		t.Fatalf("the child printed %q, %v; want the name of its namespace", line[:n], err)
	}
	if got := mounts(); got != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, got)
	}
	named, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ours := strings.TrimSpace(string(line[:n]))
	for _, e := range named {
		if s, _ := os.Readlink("/run/netns/" + e.Name()); s == ours {
			t.Errorf("the namespace lives on as %s", e.Name())
		}
	}
}
