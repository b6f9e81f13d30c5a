package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/open"
	"aoe/frame/link/veth"
	"aoe/frame/link/veth/vethtest"
	"aoe/frame/link/xdp"
	"aoe/initiator"
	"aoe/initiator/engine"
	"aoe/initiator/guard"
	"aoe/initiator/initiatortest"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/mdlayher/aoe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// allowed is what an operator would say who works through ssh.
const allowed = "arp,tcp:22@10.0.0.2"

// TestMain is also the initiator that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("AOE_GUARD_TEST_CHILD") != "" {
		if err := initiatorProcess(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// guarded is a disk with everything that this package has.
type guarded struct {
	link  link.Link
	table *guard.Table
	guard *guard.Guard
	disk  *initiator.Disk
}

// openGuarded opens the disk on eth0 of the calling thread's namespace, through a
// ring with the table's filter, or through AF_XDP sockets that the guard steers to.
func openGuarded(cfg guard.Config, steered bool) (g guarded, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if g.table, err = guard.NewTable(disk, engine.DefaultSlots); err != nil {
		return g, err
	}
	if cfg.Allow, err = guard.ParseRules(allowed); err != nil {
		return g, err
	}
	if g.guard, err = guard.Open(cfg); err != nil {
		return g, err
	}
	pulse, err := g.guard.Add(g.table)
	if err != nil {
		return g, err
	}
	port := open.Config{Interface: cfg.Interface, Kind: open.Ring, FilterFD: g.table.FilterFD()}
	if steered {
		port = open.Config{Interface: cfg.Interface, Kind: open.XDP, Steer: g.guard.Steer(g.table)}
	}
	if g.link, err = open.With(port); err != nil {
		return g, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	g.disk, err = initiator.Open(ctx, initiator.Config{Link: g.link, Addr: disk, Tags: g.table, Pulse: pulse, DeadTime: -1})
	return g, err
}

func (g guarded) Close() error {
	var errs []error
	if g.disk != nil {
		errs = append(errs, g.disk.Close())
	}
	if g.guard != nil {
		errs = append(errs, g.guard.Close())
	}
	if g.link != nil {
		errs = append(errs, g.link.Close())
	}
	if g.table != nil {
		errs = append(errs, g.table.Close())
	}
	return errors.Join(errs...)
}

// initiatorProcess holds the disk until it is killed, and reads it meanwhile.
func initiatorProcess() error {
	g, err := openGuarded(guard.Config{Interface: "eth0"}, false)
	if err != nil {
		return err
	}
	p := make([]byte, 4096)
	for i := 0; ; i++ {
		if _, err := g.disk.ReadAt(p, 0); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("attached", g.guard.Tier().Guard)
		}
	}
}

// A wire is two hosts with IP addresses, 10.0.0.1 that uses the disk and
// 10.0.0.2 that serves it, and traffic between them that is not AoE.
type wire struct {
	t      testing.TB
	pair   *veth.Pair
	closed sync.WaitGroup
	told   *net.UDPConn // of 10.0.0.1, where foreign frames arrive
	teller *net.UDPConn
}

func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{t: t, pair: vethtest.New(t, veth.Config{MTU: 9000})}
	t.Cleanup(w.closed.Wait)
	for h, ip := range map[*veth.Host]string{w.pair.A: "10.0.0.1/24", w.pair.B: "10.0.0.2/24"} {
		w.in(h, func() error {
			l, err := netlink.LinkByName(h.Interface)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(ip)
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, a)
		})
	}
	w.in(w.pair.A, func() (err error) {
		w.told, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9})
		return err
	})
	w.in(w.pair.B, func() (err error) {
		w.teller, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9})
		return err
	})
	t.Cleanup(func() { w.told.Close(); w.teller.Close() })
	initiatortest.Start(t, on(t, w.pair.B, openRing(w.pair.B, 0)), initiatortest.Config{Addr: disk, Sectors: 16384})
	return w
}

func (w *wire) in(h *veth.Host, f func() error) {
	w.t.Helper()
	if err := h.Do(f); err != nil {
		w.t.Fatal(err)
	}
}

// serve answers on a port of 10.0.0.1 with what it is sent.
func (w *wire) serve(port uint16) {
	w.t.Helper()
	var l net.Listener
	w.in(w.pair.A, func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)))
		return err
	})
	w.t.Cleanup(func() { l.Close() })
	w.closed.Go(func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.closed.Go(func() { // ends with the client
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
}

// dial connects to a port of 10.0.0.1.
func (w *wire) dial(port uint16, within time.Duration) (c net.Conn, err error) {
	err = w.pair.B.Do(func() error {
		d := net.Dialer{Timeout: within}
		c, err = d.Dial("tcp", fmt.Sprintf("10.0.0.1:%d", port))
		return err
	})
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// echo sends a line and wants it back.
func echo(c net.Conn, within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	line := []byte(fmt.Sprintf("%016x", rand.Uint64()))
	if _, err := c.Write(line); err != nil {
		return err
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(line) {
		return fmt.Errorf("%q came back for %q", got, line)
	}
	return nil
}

// arrives sends a foreign frame and reports whether it arrives in that time.
func (w *wire) arrives(within time.Duration) bool {
	w.t.Helper()
	id := fmt.Sprintf("%016x", rand.Uint64())
	if _, err := w.teller.Write([]byte(id)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.told.SetReadDeadline(time.Now().Add(within)); err != nil {
		w.t.Fatal(err)
	}
	b := make([]byte, 64)
	for {
		n, err := w.told.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if string(b[:n]) == id {
			return true
		}
	}
}

// returns measures how long it takes until foreign frames arrive again, and
// until somebody new can connect.
func (w *wire) returns(since time.Time, what string) {
	w.t.Helper()
	for !w.arrives(10 * time.Millisecond) {
		if time.Since(since) > time.Second {
			w.t.Fatalf("%s: a second later foreign frames do not arrive", what)
		}
	}
	took := time.Since(since)
	c, err := w.dial(80, time.Second)
	if err == nil {
		err = echo(c, time.Second)
	}
	if total := time.Since(since); err != nil || total > time.Second {
		w.t.Errorf("%s: connecting to port 80: %v after %v", what, err, total)
	}
	w.t.Logf("%s: foreign frames arrive again after %v", what, took)
}

func (w *wire) mustEcho(c net.Conn, times int, when string) {
	w.t.Helper()
	for range times {
		if err := echo(c, 5*time.Second); err != nil {
			w.t.Fatalf("%s: ssh: %v", when, err)
		}
	}
}

// TestGuardInCrunch: what is on the allow list flows, the disk works, everything
// else stops before it reaches a socket, and all of it returns within a second.
func TestGuardInCrunch(t *testing.T) {
	for _, mode := range []guard.Mode{guard.Driver, guard.Generic} {
		for _, steered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,steered=%v", mode, steered), func(t *testing.T) { guardInCrunch(t, mode, steered) })
		}
	}
}

func guardInCrunch(t *testing.T, mode guard.Mode, steered bool) {
	w := newWire(t)
	forger := on(t, w.pair.B, openRing(w.pair.B, 0))
	g := on(t, w.pair.A, func() (guarded, error) {
		return openGuarded(guard.Config{Interface: w.pair.A.Interface, Generic: mode == guard.Generic}, steered)
	})
	if got := g.guard.Tier(); got.Guard != mode || got.Why != "" {
		t.Fatalf("attached as %+v, want %s", got, mode)
	}
	w.serve(22)
	w.serve(80)
	ssh, err := w.dial(22, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	web, err := w.dial(80, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.mustEcho(ssh, 10, "memory is fine")
	w.mustEcho(web, 10, "memory is fine")
	if !w.arrives(5 * time.Second) {
		t.Fatal("memory is fine: a foreign frame does not arrive")
	}
	work(t, g.disk, 500)

	g.guard.SetPressure(true)
	before, filter, received := g.guard.Stats(), g.table.Stats(), g.link.Stats().Received
	const forged = 1000
	for i := range forged {
		h := frame.Header{Dst: w.pair.A.MAC, Src: w.pair.B.MAC, Flags: frame.FlagResponse, Addr: disk, Tag: rand.Uint32() | 1<<31}
		if i%2 == 0 {
			h.Addr.Slot++
		}
		if _, err := forger.Send([][]byte{frame.Pad(h.Append(nil))}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "every forged answer was dropped", func() bool { return g.guard.Stats().DroppedAoE == before.DroppedAoE+forged })
	if got := g.table.Stats(); got.Dropped() != filter.Dropped() || g.link.Stats().Received-received > 10 {
		t.Errorf("forged answers got through the guard: %+v, before %+v", got, filter)
	}
	for range 20 {
		if w.arrives(10 * time.Millisecond) {
			t.Fatal("crunch: a foreign frame arrives")
		}
	}
	if err := echo(web, 250*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("crunch: port 80 answers: %v", err)
	}
	w.mustEcho(ssh, 50, "crunch")
	again, err := w.dial(22, 5*time.Second)
	if err != nil {
		t.Fatalf("crunch: connecting to port 22: %v", err)
	}
	w.mustEcho(again, 5, "crunch")
	work(t, g.disk, 2000)
	if s := g.guard.Stats(); s.Dropped < before.Dropped+20 || s.Allowed < before.Allowed+50 || s.Answers < before.Answers+2000 || s.Crunch == "" {
		t.Errorf("counted in crunch: %+v, before %+v", s, before)
	}
	if st := g.disk.Stats(); st.Retransmitted > 0 || g.table.Stats().Dropped() > 0 {
		t.Logf("sent again: %d; the filter: %+v", st.Retransmitted, g.table.Stats())
	}
	g.guard.SetPressure(false)
	w.returns(time.Now(), "memory is fine again")

	if err := g.disk.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * guard.DefaultStale); time.Now().Before(end); {
		if !w.arrives(100 * time.Millisecond) {
			t.Fatalf("the disk is closed, and foreign frames are dropped: %+v", g.guard.Stats())
		}
	}
}

// TestSecondDiskGoesOnWithARing: a queue has one AF_XDP socket. Who comes second is
// told, and its answers, which pass the same program, go up the stack.
func TestSecondDiskGoesOnWithARing(t *testing.T) {
	w := newWire(t)
	first := on(t, w.pair.A, func() (guarded, error) { return openGuarded(guard.Config{Interface: "eth0"}, true) })
	other := frame.Addr{Shelf: 9, Slot: 9}
	initiatortest.Start(t, on(t, w.pair.B, openRing(w.pair.B, 0)), initiatortest.Config{Addr: other, Sectors: 16384})
	table, err := guard.NewTable(other, engine.DefaultSlots)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	g := on(t, w.pair.A, func() (*guard.Guard, error) { return guard.Open(guard.Config{Interface: "eth0"}) })
	pulse, err := g.Add(table)
	if err != nil {
		t.Fatal(err)
	}
	err = w.pair.A.Do(func() error {
		_, err := open.With(open.Config{Interface: "eth0", Kind: open.XDP, Steer: g.Steer(table)})
		return err
	})
	if !errors.Is(err, xdp.ErrInUse) {
		t.Fatalf("a second link by AF_XDP: %v", err)
	}
	l := on(t, w.pair.A, openRing(w.pair.A, table.FilterFD()))
	second, err := initiator.Open(t.Context(), initiator.Config{Link: l, Addr: other, Tags: table, Pulse: pulse, DeadTime: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	g.SetPressure(true)
	work(t, first.disk, 512)
	work(t, second, 512)
	if got := l.Stats().Received; got < 512 {
		t.Errorf("%d answers came by the ring", got)
	}
	if got := first.link.Stats().Received; got < 512 {
		t.Errorf("%d answers came by AF_XDP", got)
	}
}

// TestH19SteeredDiskFollowsItsInterface: the interface is made anew, with neither
// program nor sockets. The link opens new sockets, the guard attaches its program
// again, and the disk goes on, in crunch as well.
func TestH19SteeredDiskFollowsItsInterface(t *testing.T) {
	w := newWire(t)
	g := on(t, w.pair.A, func() (guarded, error) { return openGuarded(guard.Config{Interface: "eth0"}, true) })
	work(t, g.disk, 160)
	if err := w.pair.Recreate(); err != nil {
		t.Fatal(err)
	}
	if w.attached() {
		t.Fatal("a new interface has a program already")
	}
	w.in(w.pair.A, func() error { return g.guard.Tend(true) })
	g.guard.SetPressure(true)
	before := g.guard.Stats().Answers
	work(t, g.disk, 160)
	if got := g.guard.Stats().Answers - before; got < 160 {
		t.Errorf("%d answers passed the guard since", got)
	}
}

// TestGuardWhenTheInitiatorStops: when its process is stopped, the guard drops
// foreign frames by itself; when it goes on, they arrive again; when it is
// killed, nothing stays behind.
func TestGuardWhenTheInitiatorStops(t *testing.T) {
	w := newWire(t)
	w.serve(22)
	w.serve(80)
	child := w.initiator()
	if !w.attached() {
		t.Fatal("no program is attached")
	}
	ssh, err := w.dial(22, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a foreign frame arrives", func() bool { return w.arrives(10 * time.Millisecond) })

	for range 2 {
		if err := child.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped := time.Now()
		for w.arrives(10 * time.Millisecond) {
			if time.Since(stopped) > time.Second {
				t.Fatal("a second after the initiator was stopped, foreign frames still arrive")
			}
		}
		t.Logf("foreign frames stop after %v", time.Since(stopped))
		for range 20 {
			if w.arrives(10 * time.Millisecond) {
				t.Fatal("while the initiator is stopped, a foreign frame arrives")
			}
		}
		w.mustEcho(ssh, 20, "while the initiator is stopped")
		if err := child.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		w.returns(time.Now(), "the initiator goes on")
	}
	if err := child.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "foreign frames stop", func() bool { return !w.arrives(10 * time.Millisecond) })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	w.returns(killed, "the initiator was killed")
	until(t, "no program is attached", func() bool { return !w.attached() })
	if err := child.Wait(); err == nil {
		t.Error("a process that was killed has ended well")
	}
}

// initiator starts an initiator on 10.0.0.1 and waits until it uses the disk. It
// is killed when the test ends.
func (w *wire) initiator() *veth.Cmd {
	t := w.t
	t.Helper()
	child := w.pair.A.Command(os.Args[0])
	child.Env = append(os.Environ(), "AOE_GUARD_TEST_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for when the test fails before
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || said != "attached driver\n" {
		t.Fatalf("the initiator said %q, %v", said, err)
	}
	return child
}

// attached reports whether an XDP program is on the interface.
func (w *wire) attached() (yes bool) {
	w.t.Helper()
	w.in(w.pair.A, func() error {
		l, err := netlink.LinkByName(w.pair.A.Interface)
		if err != nil {
			return err
		}
		yes = l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached
		return nil
	})
	return yes
}

// TestDisksOfSeveralProcessesShareAGuard: the second process adds its disk to
// the guard of the first. When that one hangs, the guard is closed; when it is
// killed, the second clears away what it has left and takes the guard over.
func TestDisksOfSeveralProcessesShareAGuard(t *testing.T) {
	w := newWire(t)
	w.serve(80)
	child := w.initiator()
	other := frame.Addr{Shelf: 2, Slot: 2}
	table, err := guard.NewTable(other, engine.DefaultSlots)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	g := on(t, w.pair.A, func() (*guard.Guard, error) { return guard.Open(guard.Config{Interface: "eth0"}) })
	if got := g.Tier(); got.Guard != guard.Driver || !strings.Contains(got.Why, fmt.Sprint(child.Process.Pid)) {
		t.Fatalf("the second guard is %+v, want a share of process %d's", got, child.Process.Pid)
	}
	pulse, err := g.Add(table)
	if err != nil {
		t.Fatal(err)
	}
	stop, beating := make(chan struct{}), sync.WaitGroup{}
	beating.Go(func() { // ends with stop
		tick := time.NewTicker(pulse.Interval())
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				pulse.Beat(false)
			}
		}
	})
	defer beating.Wait()
	defer close(stop)
	tend := func() {
		t.Helper()
		w.in(w.pair.A, func() error { return g.Tend(false) })
	}
	until(t, "both work", func() bool { return w.arrives(10 * time.Millisecond) })

	if err := child.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "the first process hangs", func() bool { return !w.arrives(10 * time.Millisecond) })
	tend()
	if w.arrives(100*time.Millisecond) || g.Stats().Crunch == "" {
		t.Error("a process that hangs is taken for one that has ended")
	}
	// The second disk's answers pass, and no others.
	table.SetPaths(w.pair.A.MAC, []frame.MAC{w.pair.B.MAC})
	table.SetTags(3, 50, 1, aoe.CommandIssueATACommand)
	sender := on(t, w.pair.B, openRing(w.pair.B, 0))
	before := g.Stats()
	for tag := uint32(50<<12 | 2); tag <= 50<<12|4; tag++ {
		h := frame.Header{Dst: w.pair.A.MAC, Src: w.pair.B.MAC, Flags: frame.FlagResponse, Addr: other, Tag: tag}
		if _, err := sender.Send([][]byte{frame.Pad(h.Append(nil))}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the second disk's answers were looked at", func() bool {
		s := g.Stats()
		return s.Answers == before.Answers+1 && s.DroppedAoE == before.DroppedAoE+2
	})

	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	until(t, "the first process's program is gone", func() bool { return !w.attached() })
	tend()
	if got := g.Tier(); got.Guard != guard.Driver || got.Why != "" || !w.attached() {
		t.Errorf("after the first process was killed: %+v, attached %v", got, w.attached())
	}
	w.returns(time.Now(), "what it left is cleared away")
	g.SetPressure(true)
	if w.arrives(100 * time.Millisecond) {
		t.Error("crunch: a foreign frame passes the guard that was taken over")
	}
}

// TestGuardFollowsItsInterface: when it is made anew, so is the attachment; and
// a program that is none of ours is not touched.
func TestGuardFollowsItsInterface(t *testing.T) {
	w := &wire{t: t, pair: vethtest.New(t, veth.Config{})}
	g := on(t, w.pair.A, func() (*guard.Guard, error) { return guard.Open(guard.Config{Interface: "eth0"}) })
	if err := w.pair.Recreate(); err != nil {
		t.Fatal(err)
	}
	if w.attached() {
		t.Fatal("a new interface has a program already")
	}
	w.in(w.pair.A, func() error { return g.Tend(true) })
	if !w.attached() {
		t.Error("the guard has not followed")
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if w.attached() {
		t.Error("after Close a program is attached")
	}
	foreign, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "MIT", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	w.in(w.pair.A, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFd(l, foreign.FD())
	})
	err = w.pair.A.Do(func() error {
		_, err := guard.Open(guard.Config{Interface: "eth0"})
		return err
	})
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EEXIST) {
		t.Errorf("beside another program: %v", err)
	}
}
