package target_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
)

const (
	cfgRead   = aoe.ConfigCommandRead
	cfgTest   = aoe.ConfigCommandTest
	cfgPrefix = aoe.ConfigCommandTestPrefix
	cfgSet    = aoe.ConfigCommandSet
	cfgForce  = aoe.ConfigCommandForceSet
)

// editable is a server whose disks anybody may edit over the wire.
var editable = target.Config{WireEdits: target.EditsAny}

// wantConfig checks that f answers with the config string s and no error.
func wantConfig(t *testing.T, f []byte, sub aoe.ConfigCommand, s string) {
	t.Helper()
	h, _, _ := frame.Parse(f)
	c := configOf(t, f)
	if h.IsError() || string(c.String) != s || c.Sub != sub || c.Version != frame.Version {
		t.Fatalf("error %d, sub-command %d, string %q, want %d, %q", h.Error, c.Sub, c.String, sub, s)
	}
}

func TestConfigString(t *testing.T) {
	d := disk(e11, 1000)
	d.ConfigString = []byte("at first")
	r := serve(t, target.Config{BufferCount: 17, WireEdits: target.EditsAny}, 1, d)
	ask := func(sub aoe.ConfigCommand, s string) []byte { return r.ask(r.query(e11, sub, s)) }

	wantConfig(t, ask(cfgRead, ""), cfgRead, "at first")
	wantConfig(t, ask(cfgRead, "ignored"), cfgRead, "at first")
	wantConfig(t, ask(cfgTest, "at first"), cfgTest, "at first")
	wantConfig(t, ask(cfgPrefix, "at f"), cfgPrefix, "at first")
	wantConfig(t, ask(cfgPrefix, ""), cfgPrefix, "at first")
	wantConfig(t, ask(cfgSet, "at first"), cfgSet, "at first") // identical

	taken := ask(cfgSet, "other")
	wantError(t, taken, aoe.ErrorConfigStringPresent)
	if c := configOf(t, taken); string(c.String) != "at first" {
		t.Errorf("the refusal says that the string is %q", c.String)
	}
	wantConfig(t, ask(cfgForce, "by force"), cfgForce, "by force")
	wantConfig(t, ask(cfgForce, ""), cfgForce, "")
	wantConfig(t, ask(cfgSet, "now it is empty"), cfgSet, "now it is empty")
	long := strings.Repeat("x", frame.MaxConfigString)
	wantConfig(t, ask(cfgForce, long), cfgForce, long)
	c := configOf(t, ask(cfgRead, ""))
	if c.BufferCount != 17 || c.SectorCount != 17 || c.Firmware == 0 || string(c.String) != long {
		t.Errorf("config reply: %+v", c)
	}
	if st := r.stats(e11); string(st.Settings.ConfigString) != long {
		t.Error("Stats have another config string")
	}
}

// TestH13SilenceIsTheAnswer to a test or prefix that does not match, and to
// those whom the mask hides the disk from.
func TestH13SilenceIsTheAnswer(t *testing.T) {
	d := disk(e11, 1000)
	d.ConfigString = []byte("abc")
	r := serve(t, editable, 1, d, disk(e12, 1000))
	for _, s := range []string{"", "ab", "abcd", "abd"} {
		r.silent(r.query(e11, cfgTest, s))
	}
	for _, s := range []string{"abcd", "b", "abd"} {
		r.silent(r.query(e11, cfgPrefix, s))
	}
	allow := func(m frame.MAC) frame.MaskDirective {
		return frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: m}
	}
	r.ask(r.mask(e12, aoe.MACMaskCommandEdit, allow(macB)))
	for _, f := range [][]byte{
		r.query(e12, cfgRead, ""), r.query(e12, cfgForce, "x"), r.read(e12, 0, 1), r.write(e12, 0, sectors(1, 1)),
		r.ata(e12, frame.OpIdentify, 0, 1, nil), r.ata(e12, frame.OpSMART, 0, 1, nil), r.read(e12, 0, 0),
		r.mask(e12, aoe.MACMaskCommandRead), r.mask(e12, aoe.MACMaskCommandEdit), r.header(e12, 99),
		r.reserve(e12, aoe.ReserveReleaseCommandRead), r.reserve(e12, aoe.ReserveReleaseCommandForceSet, macA),
		r.query(e12, 9, ""), r.read(e12, 0, 1)[:30],
	} {
		r.silent(f)
	}
	old := r.read(e12, 0, 1)
	old[14] = 0x20
	r.silent(old)
	wantOK(t, r.ask(from(macB, r.read(e12, 0, 1))))
	if st := r.stats(e12); st.Masked != 15 {
		t.Errorf("%d requests masked, want 15", st.Masked)
	}
}

func maskOf(t *testing.T, f []byte) (m frame.Mask, macs []frame.MAC) {
	t.Helper()
	_, arg, err := frame.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = frame.ParseMaskReply(arg); err != nil {
		t.Fatal(err)
	}
	for i := range m.Len() {
		macs = append(macs, m.At(i).MAC)
	}
	return m, macs
}

func TestMask(t *testing.T) {
	r := serve(t, editable, 1, disk(e11, 1000))
	mac := func(i int) frame.MAC { return frame.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)} }
	do := func(d aoe.DirectiveCommand, m frame.MAC) frame.MaskDirective {
		return frame.MaskDirective{Directive: d, MAC: m}
	}
	const nop, add, del = aoe.DirectiveCommandNone, aoe.DirectiveCommandAdd, aoe.DirectiveCommandDelete
	edit := func(ds ...frame.MaskDirective) (frame.Mask, []frame.MAC) {
		t.Helper()
		return maskOf(t, r.ask(r.mask(e11, aoe.MACMaskCommandEdit, ds...)))
	}
	want := func(m frame.Mask, got []frame.MAC, merr aoe.MACMaskError, at int, macs ...frame.MAC) {
		t.Helper()
		if m.Error != merr || merr != 0 && int(m.Count) != at || !slices.Equal(got, macs) {
			t.Fatalf("error %d at %d, list %v, want %d at %d, %v", m.Error, m.Count, got, merr, at, macs)
		}
	}
	m, got := edit()
	want(m, got, 0, 0)
	m, got = edit(do(add, macA), do(nop, macB), do(add, mac(1)), do(add, macA))
	want(m, got, 0, 0, macA, mac(1))
	m, got = edit(do(del, mac(1)), do(del, mac(2)), do(add, mac(3)))
	want(m, got, 0, 0, macA, mac(3))

	// In order, and stopping at the one that fails; what came before holds.
	m, got = edit(do(add, mac(4)), do(7, mac(5)), do(add, mac(6)))
	want(m, got, aoe.MACMaskErrorBadCommand, 1)
	m, got = maskOf(t, r.ask(r.mask(e11, aoe.MACMaskCommandRead)))
	want(m, got, 0, 0, macA, mac(3), mac(4))

	// Until it is full. The answer still fits a frame of 1500 bytes.
	var many []frame.MaskDirective
	for i := range 250 {
		many = append(many, do(add, mac(1000+i)))
	}
	m, got = edit(many...)
	want(m, got, aoe.MACMaskErrorListFull, target.MaxMask-3)
	f := r.ask(r.mask(e11, aoe.MACMaskCommandRead))
	if _, got = maskOf(t, f); len(got) != target.MaxMask || len(f) > 1514 {
		t.Errorf("a full list has %d MACs in a frame of %d bytes", len(got), len(f))
	}
	// One that is there can still be added, and all deleted.
	m, got = edit(do(add, macA))
	if m.Error != 0 || len(got) != target.MaxMask {
		t.Errorf("adding who is there: error %d, %d MACs", m.Error, len(got))
	}
	for _, m := range got {
		if m != macA {
			edit(do(del, m))
		}
	}
	m, got = edit(do(del, macA))
	want(m, got, 0, 0)
	wantOK(t, r.ask(from(macB, r.read(e11, 0, 1)))) // empty is everyone
}

// Two mask frames crash vblade: one that fills the list with more than it
// holds, and one that counts more directives than it has.
func TestVbladeKillerTwoMaskFrames(t *testing.T) {
	r := serve(t, editable, 1, disk(e11, 1000))
	var ds []frame.MaskDirective
	for i := range 255 {
		ds = append(ds, frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: frame.MAC{2, 0, 0, 9, 0, byte(i)}})
	}
	ds[0].MAC = macA
	if m, _ := maskOf(t, r.ask(r.mask(e11, aoe.MACMaskCommandEdit, ds...))); m.Error != aoe.MACMaskErrorListFull {
		t.Errorf("255 MACs: error %d", m.Error)
	}
	f := r.mask(e11, aoe.MACMaskCommandEdit)
	f[frame.HeaderLen+3] = 255
	wantError(t, r.ask(f), aoe.ErrorBadArgumentParameter)
	wantOK(t, r.ask(r.read(e11, 0, 1)))
}

func reserveOf(t *testing.T, f []byte) (macs []frame.MAC) {
	t.Helper()
	_, arg, err := frame.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	rr, err := frame.ParseReserve(arg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rr.Len() {
		macs = append(macs, rr.At(i))
	}
	return macs
}

// TestH11ReservedIsAnAnswer: others than those on the list are told that the
// disk is reserved; they may still identify it and ask who has it.
func TestH11ReservedIsAnAnswer(t *testing.T) {
	const read, set, force = aoe.ReserveReleaseCommandRead, aoe.ReserveReleaseCommandSet, aoe.ReserveReleaseCommandForceSet
	r := serve(t, editable, 1, disk(e11, 1000))
	want := func(f []byte, macs ...frame.MAC) {
		t.Helper()
		if got := reserveOf(t, f); !slices.Equal(got, macs) {
			t.Fatalf("reserved for %v, want %v", got, macs)
		}
	}
	want(r.ask(r.reserve(e11, read)))
	want(r.ask(r.reserve(e11, set, macB, macTester)), macB, macTester) // by one who is not on it
	for _, f := range [][]byte{
		r.read(e11, 0, 1), r.write(e11, 0, sectors(1, 1)), r.ata(e11, frame.OpFlush, 0, 0, nil),
		r.ata(e11, frame.OpSMART, 0, 0, nil), r.ata(e11, frame.OpCheckPower, 0, 0, nil), r.trim(e11), r.read(e11, 5000, 0),
	} {
		wantError(t, r.ask(f), aoe.ErrorTargetIsReserved)
	}
	wantOK(t, r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil)))
	wantConfig(t, r.ask(r.query(e11, cfgRead, "")), cfgRead, "")
	refused := r.ask(r.reserve(e11, set, macA))
	wantError(t, refused, aoe.ErrorTargetIsReserved)
	want(refused, macB, macTester) // and it says who has it
	want(r.ask(r.reserve(e11, read)), macB, macTester)
	wantOK(t, r.ask(from(macB, r.write(e11, 0, sectors(1, 1)))))

	want(r.ask(r.reserve(e11, force, macA)), macA)
	wantData(t, r.ask(r.read(e11, 0, 1)), sectors(1, 1))
	wantError(t, r.ask(from(macB, r.read(e11, 0, 1))), aoe.ErrorTargetIsReserved)
	want(r.ask(r.reserve(e11, set))) // released by who has it
	wantOK(t, r.ask(from(macB, r.read(e11, 0, 1))))

	many := make([]frame.MAC, 255)
	for i := range many {
		many[i] = frame.MAC{2, 1, 0, 0, 0, byte(i)}
	}
	wantError(t, r.ask(r.reserve(e11, force, many...)), aoe.ErrorBadArgumentParameter)
	if f := r.ask(r.reserve(e11, force, many[:target.MaxReserve]...)); len(f) > 1514 || len(reserveOf(t, f)) != target.MaxReserve {
		t.Errorf("a full list makes a frame of %d bytes", len(f))
	}
}

// TestH8NothingIsChangedByAWildcard, nor made to work: what edits is refused by
// every disk that the wildcard covers. What only asks is answered by each.
func TestH8NothingIsChangedByAWildcard(t *testing.T) {
	r := serve(t, editable, 1, disk(e11, 1000), disk(e12, 1000), disk(e21, 1000))
	shelf1 := frame.Addr{Shelf: 1, Slot: frame.AnySlot}
	slot1 := frame.Addr{Shelf: frame.AnyShelf, Slot: 1}
	each := func(f []byte, check func([]byte), addrs ...frame.Addr) {
		t.Helper()
		r.tap.in <- f
		for _, a := range addrs {
			got := r.answer(r.tap, f)
			if h, _, _ := frame.Parse(got); h.Addr != a {
				t.Fatalf("%s answers, want %s", h.Addr, a)
			}
			check(got)
		}
		r.barrier()
	}
	refused := func(f []byte) { t.Helper(); wantError(t, f, aoe.ErrorBadArgumentParameter) }
	fine := func(f []byte) { t.Helper(); wantOK(t, f) }
	for _, row := range []struct {
		wild  frame.Addr
		disks []frame.Addr
	}{
		{frame.Anywhere, []frame.Addr{e11, e12, e21}},
		{shelf1, []frame.Addr{e11, e12}},
		{slot1, []frame.Addr{e11, e21}},
		{frame.Addr{Shelf: 9, Slot: frame.AnySlot}, nil},
	} {
		add := frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: macB}
		for _, f := range [][]byte{
			r.write(row.wild, 0, sectors(1, 1)), r.ata(row.wild, frame.OpWrite, 0, 1, sectors(1, 1)),
			r.ata(row.wild, frame.OpFlush, 0, 0, nil), r.ata(row.wild, frame.OpFlushExt, 0, 0, nil),
			r.trim(row.wild, frame.TrimRange{LBA: 0, Sectors: 1}),
			r.query(row.wild, cfgSet, "x"), r.query(row.wild, cfgForce, "x"),
			r.mask(row.wild, aoe.MACMaskCommandEdit, add),
			r.reserve(row.wild, aoe.ReserveReleaseCommandSet, macB), r.reserve(row.wild, aoe.ReserveReleaseCommandForceSet, macB),
		} {
			each(f, refused, row.disks...)
			each(to(frame.Broadcast, f), refused, row.disks...)
		}
		for _, f := range [][]byte{r.read(row.wild, 0, 2), r.ata(row.wild, frame.OpIdentify, 0, 1, nil)} {
			each(to(frame.Broadcast, f), fine, row.disks...)
		}
		each(to(frame.Broadcast, r.query(row.wild, cfgRead, "")), func(f []byte) { wantConfig(t, f, cfgRead, "") }, row.disks...)
		each(r.mask(row.wild, aoe.MACMaskCommandRead), func([]byte) {}, row.disks...)
		each(r.reserve(row.wild, aoe.ReserveReleaseCommandRead), func([]byte) {}, row.disks...)
	}
	// To the address of one disk, but to every station.
	refused(r.ask(to(frame.Broadcast, r.write(e11, 0, sectors(1, 1)))))
	refused(r.ask(to(frame.Broadcast, r.ata(e11, frame.OpFlush, 0, 0, nil))))
	refused(r.ask(to(frame.Broadcast, r.trim(e11))))
	// aoecfg sets config strings so: it names one disk.
	wantConfig(t, r.ask(to(frame.Broadcast, r.query(e11, cfgSet, "mine"))), cfgSet, "mine")
	for _, a := range []frame.Addr{e11, e12, e21} {
		wantData(t, r.ask(r.read(a, 0, 1)), sectors(1, 0))
	}
}

// vblade takes a write to every disk on the segment, from one frame.
func TestVbladeKillerWildcardWrite(t *testing.T) {
	r := serve(t, editable, 1, disk(e11, 1000))
	wantError(t, r.ask(to(frame.Broadcast, r.write(frame.Anywhere, 0, sectors(8, 1)))), aoe.ErrorBadArgumentParameter)
	wantData(t, r.ask(r.read(e11, 0, 8)), sectors(8, 0))
}

// TestH14WhatIsNotARequestToUs is ignored.
func TestH14WhatIsNotARequestToUs(t *testing.T) {
	r := serve(t, editable, 1, disk(e11, 1000))
	alter := func(b []byte, f func([]byte)) []byte { f(b); return b }
	for _, f := range [][]byte{
		alter(r.read(e11, 0, 1), func(b []byte) { b[14] |= frame.FlagResponse }),
		alter(r.read(e11, 0, 1), func(b []byte) { b[14] |= frame.FlagResponse | frame.FlagError; b[15] = 2 }),
		from(r.tap.State().MAC, r.read(e11, 0, 1)),
		from(frame.Broadcast, r.read(e11, 0, 1)),
		from(frame.MAC{0x33, 0x33, 0, 0, 0, 1}, r.read(e11, 0, 1)),
		to(macB, r.read(e11, 0, 1)),
		to(frame.MAC{1, 0x80, 0xc2, 0, 0, 0}, r.read(e11, 0, 1)),
		r.read(e12, 0, 1), r.query(e12, cfgRead, ""), r.header(frame.Addr{Shelf: 7, Slot: frame.AnySlot}, 0),
	} {
		r.silent(f)
	}
	st := r.server.Stats().Links[0]
	if st.Forged != 5 || st.Misdirected != 2 || st.NoDisk != 2 {
		t.Errorf("%d forged, %d misdirected, %d to no disk, want 5, 2, 2", st.Forged, st.Misdirected, st.NoDisk)
	}
	// E without R in a request means nothing.
	wantData(t, r.ask(alter(r.read(e11, 0, 1), func(b []byte) { b[14] |= frame.FlagError; b[15] = 3 })), sectors(1, 0))
}

// TestH22WildcardsAreLimited: one small frame with a forged sender makes every
// disk answer; there is a bound to it, and what names a disk is not affected.
func TestH22WildcardsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where a second does not pass by itself
		r := begin(t, target.Config{WildcardReplies: 10}, 1, disk(e11, 1000), disk(e12, 1000), disk(e21, 1000))
		for range 50 {
			r.tap.in <- r.query(frame.Anywhere, cfgRead, "")
		}
		synctest.Wait()
		if n := len(r.tap.out); n != 10 {
			t.Errorf("%d answers to 50 wildcards, want the 10 of a second", n)
		}
		for len(r.tap.out) > 0 {
			r.next(r.tap)
		}
		r.barrier()
		if st := r.server.Stats().Links[0]; st.Limited != 50-3 {
			t.Errorf("%d limited, want all but the three that every disk answered", st.Limited)
		}
		time.Sleep(time.Second)
		r.tap.in <- r.query(frame.Anywhere, cfgRead, "")
		synctest.Wait()
		if n := len(r.tap.out); n != 3 {
			t.Errorf("%d answers a second later, want one of each disk", n)
		}
		r.close()
	})
}

// A keeper in memory, which can be told to wait and to fail.
type keeper struct {
	kept map[frame.Addr]target.Settings
	hook func() error
}

func (k *keeper) Load(a frame.Addr) (target.Settings, error) {
	if s, ok := k.kept[a]; ok {
		return s, nil
	}
	return target.Settings{}, target.ErrNothingKept
}

func (k *keeper) Keep(a frame.Addr, s target.Settings) error {
	if k.hook != nil {
		if err := k.hook(); err != nil {
			return err
		}
	}
	k.kept[a] = s
	return nil
}

// TestH24KeptBeforeTheAnswer: an edit is answered when it has been kept, does not
// hold before, and not at all when it could not be kept. After a restart all of
// it is there.
func TestH24KeptBeforeTheAnswer(t *testing.T) {
	entered, pass := make(chan bool), make(chan error)
	k := &keeper{kept: map[frame.Addr]target.Settings{}, hook: func() error { entered <- true; return <-pass }}
	cfg := target.Config{Keeper: k, WireEdits: target.EditsAny}
	r := serve(t, cfg, 1, disk(e11, 1000))
	f := r.query(e11, cfgSet, "kept")
	r.silent(f)
	<-entered
	r.silent(bytes.Clone(f)) // a copy
	wantConfig(t, r.ask(r.query(e11, cfgRead, "")), cfgRead, "")
	second := r.reserve(e11, aoe.ReserveReleaseCommandSet, macA, macTester)
	r.silent(second) // waits for the first
	pass <- nil
	wantConfig(t, r.answer(r.tap, f), cfgSet, "kept")
	<-entered
	pass <- nil
	r.answer(r.tap, second)

	failing := r.mask(e11, aoe.MACMaskCommandEdit, frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: macA})
	r.tap.in <- failing
	<-entered
	pass <- errors.New("no room")
	wantError(t, r.answer(r.tap, failing), aoe.ErrorDeviceUnavailable)
	wantOK(t, r.ask(r.read(e11, 0, 1)))
	if st := r.stats(e11); st.KeepErrors != 1 || len(st.Settings.Mask) != 0 {
		t.Errorf("%d failures to keep; mask %v", st.KeepErrors, st.Settings.Mask)
	}
	r.close()

	r = serve(t, cfg, 1, disk(e11, 1000))
	wantConfig(t, r.ask(r.query(e11, cfgRead, "")), cfgRead, "kept")
	wantError(t, r.ask(from(macB, r.read(e11, 0, 1))), aoe.ErrorTargetIsReserved)
}

// What a keeper brings back that cannot be is refused, and not cut.
func TestKeeperIsNotTrusted(t *testing.T) {
	for _, row := range []struct {
		name string
		s    target.Settings
	}{
		{"config string", target.Settings{ConfigString: make([]byte, 1025)}},
		{"mask", target.Settings{Mask: make([]frame.MAC, target.MaxMask+1)}},
		{"reserve list", target.Settings{Reserve: make([]frame.MAC, target.MaxReserve+1)}},
	} {
		s, err := target.New(target.Config{Keeper: &keeper{kept: map[frame.Addr]target.Settings{e11: row.s}}})
		if err != nil {
			t.Fatal(err)
		}
		st := store.Memory(1 << 20)
		if err := s.AddDisk(target.Disk{Addr: e11, Store: st}); err == nil || !strings.Contains(err.Error(), row.name) {
			t.Errorf("%s too long: %v", row.name, err)
		}
		s.Close()
	}
}
