package target_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
	"aoe/target/store"
)

// poison fills every buffer that the server lends to a tap, before a frame is
// put into it. It must never be seen in an answer: it stands for what was in
// memory before.
const poison = 0xdb

var poisoned = bytes.Repeat([]byte{poison}, 12<<10)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

var (
	macTarget = frame.MAC{2, 0, 0, 0, 0, 0x0a}
	macA      = frame.MAC{2, 0, 0, 0, 0, 1}
	macB      = frame.MAC{2, 0, 0, 0, 0, 2}
	e11       = frame.Addr{Shelf: 1, Slot: 1}
	e12       = frame.Addr{Shelf: 1, Slot: 2}
	e21       = frame.Addr{Shelf: 2, Slot: 1}
)

// A tap is a link whose other end is the test itself.
type tap struct {
	in     chan []byte // frames to be received
	out    chan []byte // frames that were sent
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	state link.State
	fail  error
}

func newTap(mac frame.MAC, mtu int) *tap {
	return &tap{
		in: make(chan []byte, 1024), out: make(chan []byte, 4096),
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
		state: link.State{Name: "tap0", MAC: mac, MTU: mtu, Up: true, Generation: 1},
	}
}

func (t *tap) Recv(bufs [][]byte, timeout time.Duration) (int, error) {
	for i := range bufs {
		for b := bufs[i][:cap(bufs[i])]; len(b) > 0; b = b[copy(b, poisoned):] {
		}
	}
	var timer <-chan time.Time
	if timeout >= 0 {
		tm := time.NewTimer(timeout)
		defer tm.Stop()
		timer = tm.C
	}
	t.mu.Lock()
	fail := t.fail
	t.mu.Unlock()
	if fail != nil {
		return 0, fail
	}
	n := 0
	put := func(f []byte) {
		if len(f) <= cap(bufs[n]) {
			bufs[n] = bufs[n][:copy(bufs[n][:cap(bufs[n])], f)]
			n++
		}
	}
	select {
	case f := <-t.in:
		put(f)
	case <-t.wake:
		return 0, nil
	case <-timer:
		return 0, nil
	case <-t.closed:
		return 0, fmt.Errorf("tap: %w", net.ErrClosed)
	}
	for n < len(bufs) {
		select {
		case f := <-t.in:
			put(f)
		default:
			return n, nil
		}
	}
	return n, nil
}

func (t *tap) Send(frames [][]byte) (int, error) {
	select {
	case <-t.closed:
		return 0, fmt.Errorf("tap: %w", net.ErrClosed)
	default:
	}
	for _, f := range frames {
		t.out <- bytes.Clone(f)
	}
	return len(frames), nil
}

func (t *tap) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tap) State() link.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

func (t *tap) Stats() link.Stats { return link.Stats{} }

func (t *tap) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

// change gives the tap another state, which its Recv notices.
func (t *tap) change(f func(*link.State)) {
	t.mu.Lock()
	f(&t.state)
	t.state.Generation++
	t.mu.Unlock()
	t.Wake()
}

// spoil makes the tap of no more use.
func (t *tap) spoil(err error) {
	t.mu.Lock()
	t.fail = err
	t.mu.Unlock()
	t.Wake()
}

// A rig is a server with disks and taps that serves.
type rig struct {
	t      testing.TB
	server *target.Server
	taps   []*tap
	tap    *tap // the first
	served chan error
	stop   context.CancelFunc
	want   error // of Serve
	tag    uint32
}

// serve runs a server with the disks on n taps of MTU 9000 until the test ends.
func serve(t testing.TB, cfg target.Config, n int, disks ...target.Disk) *rig {
	t.Helper()
	before := runtime.NumGoroutine()
	r := begin(t, cfg, n, disks...)
	t.Cleanup(func() {
		r.close()
		noLeak(t, before)
	})
	return r
}

// begin is serve for who ends it.
func begin(t testing.TB, cfg target.Config, n int, disks ...target.Disk) *rig {
	t.Helper()
	s, err := target.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if err := s.AddDisk(d); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{t: t, server: s, served: make(chan error, 1)}
	for i := range n {
		mac := macTarget
		mac[4] = byte(i)
		r.taps = append(r.taps, newTap(mac, 9000))
		if err := s.AddLink(r.taps[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n > 0 {
		r.tap = r.taps[0]
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.served <- s.Serve(ctx) }()
	for _, tp := range r.taps {
		for range disks {
			r.announced(tp)
		}
	}
	return r
}

func (r *rig) close() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.served:
		if !errors.Is(err, r.want) {
			r.t.Errorf("Serve: %v, want %v", err, r.want)
		}
		r.served <- r.want
	case <-time.After(patience):
		r.t.Fatal("Serve did not return")
	}
}

// noLeak waits until there are no more goroutines than before.
func noLeak(t testing.TB, before int) {
	t.Helper()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// announced waits for an announcement on tp and returns it.
func (r *rig) announced(tp *tap) []byte {
	r.t.Helper()
	f := r.next(tp)
	h, _, err := frame.Parse(f)
	if err != nil || !h.IsResponse() || h.Tag != 0 || h.Dst != frame.Broadcast || h.Command != aoe.CommandQueryConfigInformation {
		r.t.Fatalf("want an announcement, got % x", f[:min(len(f), 40)])
	}
	return f
}

// next is the next frame that the server sends on tp.
func (r *rig) next(tp *tap) []byte {
	r.t.Helper()
	select {
	case f := <-tp.out:
		wellFormed(r.t, f)
		return f
	case <-time.After(patience):
		buf := make([]byte, 1<<18)
		r.t.Fatalf("no answer\n%s", buf[:runtime.Stack(buf, true)])
		return nil
	}
}

// wellFormed checks what holds of every frame that a server sends.
func wellFormed(t testing.TB, f []byte) {
	t.Helper()
	h, _, err := frame.Parse(f)
	switch {
	case err != nil || len(f) < frame.MinLen:
		t.Fatalf("a frame of %d bytes, %v", len(f), err)
	case !h.IsResponse() || h.Version != frame.Version || h.Addr.IsWildcard() || h.Src.IsMulticast():
		t.Fatalf("not a response of a disk: %+v", h)
	case h.IsError() != (h.Error != 0):
		t.Fatalf("E and the error do not agree: %+v", h)
	case bytes.Contains(f, []byte{poison, poison, poison, poison}):
		t.Fatalf("an answer holds what was in memory before: % x", f)
	}
}

// ask sends f on the first tap and returns the answer.
func (r *rig) ask(f []byte) []byte {
	r.t.Helper()
	r.tap.in <- f
	return r.answer(r.tap, f)
}

// answer waits for the answer to f on tp.
func (r *rig) answer(tp *tap, f []byte) []byte {
	r.t.Helper()
	got := r.next(tp)
	if !bytes.Equal(got[frame.TagOffset:frame.HeaderLen], f[frame.TagOffset:frame.HeaderLen]) || got[19] != f[19] {
		r.t.Fatalf("another answer than that to tag %x, command %d: % x", f[frame.TagOffset:frame.HeaderLen], f[19], got[:40])
	}
	if !bytes.Equal(got[0:6], f[6:12]) {
		r.t.Fatalf("the answer goes to % x, not to who asked", got[0:6])
	}
	return got
}

// silent sends f and checks that nothing is answered to it: the answer to a
// request behind it comes first. Both must be to disks that do not wait.
func (r *rig) silent(f []byte) {
	r.t.Helper()
	r.tap.in <- f
	r.barrier()
}

// barrier checks that there is no answer under way. It needs e1.1.
func (r *rig) barrier() {
	r.t.Helper()
	b := r.query(e11, aoe.ConfigCommandRead, "")
	copy(b[6:12], macTester[:])
	r.ask(b)
}

// macTester is in no mask of a test that uses silent.
var macTester = frame.MAC{2, 0, 0, 0, 0, 0xee}

// header is that of a request from A with a new tag.
func (r *rig) header(a frame.Addr, c aoe.Command) []byte {
	r.tag++
	h := frame.Header{Dst: r.tap.State().MAC, Src: macA, Addr: a, Command: c, Tag: r.tag}
	return h.Append(make([]byte, 0, 9100))
}

func (r *rig) ata(a frame.Addr, op frame.Opcode, lba uint64, count uint8, data []byte) []byte {
	arg := frame.ATA{Op: op, LBA: lba, Count: count}
	if op.IsExt() {
		arg.AFlags |= frame.AFlagExtended
	}
	if data != nil {
		arg.AFlags |= frame.AFlagWrite
	}
	return frame.Pad(append(arg.Append(r.header(a, aoe.CommandIssueATACommand)), data...))
}

func (r *rig) read(a frame.Addr, lba uint64, count uint8) []byte {
	return r.ata(a, frame.OpReadExt, lba, count, nil)
}

func (r *rig) write(a frame.Addr, lba uint64, data []byte) []byte {
	return r.ata(a, frame.OpWriteExt, lba, uint8(len(data)/frame.SectorSize), data)
}

func (r *rig) query(a frame.Addr, sub aoe.ConfigCommand, s string) []byte {
	return frame.Pad(frame.Config{Sub: sub, String: []byte(s)}.Append(r.header(a, aoe.CommandQueryConfigInformation)))
}

func (r *rig) mask(a frame.Addr, sub aoe.MACMaskCommand, ds ...frame.MaskDirective) []byte {
	b := frame.Mask{Sub: sub, Count: uint8(len(ds))}.Append(r.header(a, aoe.CommandMACMaskList))
	for _, d := range ds {
		b = d.Append(b)
	}
	return frame.Pad(b)
}

func (r *rig) reserve(a frame.Addr, sub aoe.ReserveReleaseCommand, macs ...frame.MAC) []byte {
	b := frame.Reserve{Sub: sub, Count: uint8(len(macs))}.Append(r.header(a, aoe.CommandReserveRelease))
	for _, m := range macs {
		b = m.Append(b)
	}
	return frame.Pad(b)
}

// from changes the sender of f.
func from(m frame.MAC, f []byte) []byte {
	copy(f[6:12], m[:])
	return f
}

// to changes the station that f is sent to.
func to(m frame.MAC, f []byte) []byte {
	copy(f[0:6], m[:])
	return f
}

// sectors is n sectors filled with b.
func sectors(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n*frame.SectorSize) }

// ataOf parses the answer to an ATA request that must not be an error of AoE.
func ataOf(t testing.TB, f []byte) (frame.ATA, []byte) {
	t.Helper()
	h, arg, err := frame.Parse(f)
	if err != nil || h.IsError() {
		t.Fatalf("want an ATA answer, got error %v (%v)", h.Error, err)
	}
	a, rest, err := frame.ParseATA(arg)
	if err != nil {
		t.Fatal(err)
	}
	return a, rest
}

// wantOK checks that f is the answer of a successful command.
func wantOK(t testing.TB, f []byte) []byte {
	t.Helper()
	a, rest := ataOf(t, f)
	if a.Status()&frame.StatusFault != 0 || a.Status()&frame.StatusDRDY == 0 || a.Feature != 0 {
		t.Fatalf("status %#x, error %#x, want success", a.Status(), a.Feature)
	}
	return rest
}

// wantFail checks that f is the answer of a command that failed with the bits
// of the error register.
func wantFail(t testing.TB, f []byte, reg uint8) {
	t.Helper()
	a, _ := ataOf(t, f)
	if a.Status()&frame.StatusErr == 0 || a.Feature != reg {
		t.Fatalf("status %#x, error %#x, want ERR and %#x", a.Status(), a.Feature, reg)
	}
	if len(f) != frame.MinLen {
		t.Fatalf("the answer of a failed command has %d bytes", len(f))
	}
}

// wantData checks that f answers a read with data.
func wantData(t testing.TB, f, data []byte) {
	t.Helper()
	if rest := wantOK(t, f); !bytes.Equal(rest, data) {
		t.Fatalf("read %d bytes % x..., want %d bytes % x...", len(rest), rest[:min(len(rest), 8)], len(data), data[:min(len(data), 8)])
	}
}

// wantError checks that f refuses with an error of AoE.
func wantError(t testing.TB, f []byte, code aoe.Error) {
	t.Helper()
	h, _, err := frame.Parse(f)
	if err != nil || !h.IsError() || h.Error != code {
		t.Fatalf("flags %x, error %d (%v), want error %d", h.Flags, h.Error, err, code)
	}
}

// configOf parses the answer to a query.
func configOf(t testing.TB, f []byte) frame.Config {
	t.Helper()
	_, arg, err := frame.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	c, err := frame.ParseConfig(arg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// disk is a Disk of n sectors in memory.
func disk(a frame.Addr, n int64) target.Disk {
	return target.Disk{Addr: a, Store: store.Memory(n * frame.SectorSize), Serial: "serial-" + a.String()}
}

func (r *rig) stats(a frame.Addr) target.DiskStats {
	r.t.Helper()
	for _, d := range r.server.Stats().Disks {
		if d.Addr == a {
			return d
		}
	}
	r.t.Fatalf("no disk %s", a)
	return target.DiskStats{}
}

// until waits for a condition.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

func tagOf(f []byte) uint32 { return binary.BigEndian.Uint32(f[frame.TagOffset:]) }
