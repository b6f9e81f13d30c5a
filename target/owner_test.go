package target_test

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

func adding(m frame.MAC) frame.MaskDirective {
	return frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: m}
}

func deleting(m frame.MAC) frame.MaskDirective {
	return frame.MaskDirective{Directive: aoe.DirectiveCommandDelete, MAC: m}
}

// TestH22WireEdits: who may edit over the wire. Whoever may not is told that it
// is a bad argument, and may still read.
func TestH22WireEdits(t *testing.T) {
	for _, row := range []struct {
		name   string
		server target.WireEdits
		disk   target.WireEdits
		mask   []frame.MAC
		may    bool // of macA
	}{
		{"by default, nobody while there is no mask", 0, 0, nil, false},
		{"by default, who is on the mask", 0, 0, []frame.MAC{macTester, macA}, true},
		{"listed", target.EditsListed, 0, []frame.MAC{macTester, macA}, true},
		{"listed for one disk", target.EditsAny, target.EditsListed, nil, false},
		{"none, not even who is on the mask", target.EditsNone, 0, []frame.MAC{macTester, macA}, false},
		{"none for one disk", target.EditsAny, target.EditsNone, nil, false},
		{"any", target.EditsAny, 0, nil, true},
		{"any for one disk", 0, target.EditsAny, nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := disk(e11, 1000)
			d.WireEdits, d.Mask = row.disk, row.mask
			r := serve(t, target.Config{WireEdits: row.server}, 1, d)
			for _, f := range [][]byte{
				r.query(e11, cfgSet, "x"), r.query(e11, cfgForce, "x"),
				r.reserve(e11, aoe.ReserveReleaseCommandSet, macA, macTester), r.reserve(e11, aoe.ReserveReleaseCommandForceSet, macA, macTester),
				r.mask(e11, aoe.MACMaskCommandEdit, adding(macA), adding(macB)),
			} {
				got := r.ask(f)
				h, _, err := frame.Parse(got)
				switch {
				case err != nil:
					t.Fatal(err)
				case !row.may:
					wantError(t, got, aoe.ErrorBadArgumentParameter)
				case h.IsError():
					t.Fatalf("command %d: error %d", h.Command, h.Error)
				}
			}
			st := r.stats(e11).Settings
			if changed := len(st.ConfigString) > 0 && len(st.Reserve) == 2 && slices.Contains(st.Mask, macB); changed != row.may {
				t.Errorf("settings afterwards: %+v", st)
			}
			wantConfig(t, r.ask(r.query(e11, cfgRead, "")), cfgRead, string(st.ConfigString))
			reserveOf(t, r.ask(r.reserve(e11, aoe.ReserveReleaseCommandRead)))
			maskOf(t, r.ask(r.mask(e11, aoe.MACMaskCommandRead)))
		})
	}
}

func TestWireEditsAsText(t *testing.T) {
	for _, w := range []target.WireEdits{target.EditsNone, target.EditsListed, target.EditsAny} {
		text, err := w.MarshalText()
		var again target.WireEdits
		if err != nil || again.UnmarshalText(text) != nil || again != w {
			t.Errorf("%v is written %q and read as %v", w, text, again)
		}
	}
	var w target.WireEdits
	if err := w.UnmarshalText([]byte("some")); err == nil || !strings.Contains(err.Error(), "none, listed or any") {
		t.Errorf("some: %v", err)
	}
}

// TestOwnerEditsWithoutPermission: what is forbidden over the wire is not to who
// owns the server, and it holds at once.
func TestOwnerEditsWithoutPermission(t *testing.T) {
	r := serve(t, target.Config{WireEdits: target.EditsNone}, 1, disk(e11, 1000))
	s := r.server
	must := func(set target.Settings, err error) target.Settings {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	must(s.SetConfigString(e11, []byte("first"), false))
	must(s.SetConfigString(e11, []byte("first"), false))
	if set, err := s.SetConfigString(e11, []byte("second"), false); !errors.Is(err, target.ErrConfigStringPresent) || string(set.ConfigString) != "first" {
		t.Errorf("set over another: %v, %q", err, set.ConfigString)
	}
	must(s.SetConfigString(e11, []byte("second"), true))
	wantConfig(t, r.ask(r.query(e11, cfgRead, "")), cfgRead, "second")
	if _, err := s.SetConfigString(e11, make([]byte, frame.MaxConfigString+1), true); err == nil {
		t.Error("a config string that is too long was set")
	}

	must(s.SetReserve(e11, []frame.MAC{macA}, false))
	wantError(t, r.ask(from(macB, r.read(e11, 0, 1))), aoe.ErrorTargetIsReserved)
	if _, err := s.SetReserve(e11, []frame.MAC{macB}, false); !errors.Is(err, target.ErrReserved) || !strings.Contains(err.Error(), macA.String()) {
		t.Errorf("set over another's: %v", err)
	}
	must(s.SetReserve(e11, []frame.MAC{macB}, true))
	must(s.SetReserve(e11, nil, false))
	wantOK(t, r.ask(r.read(e11, 0, 1)))

	must(s.EditMask(e11, []frame.MaskDirective{adding(macB), adding(macTester), deleting(macB), adding(macB)}))
	r.silent(r.read(e11, 0, 1))
	before := must(s.SettingsOf(e11))
	if !slices.Equal(before.Mask, []frame.MAC{macTester, macB}) {
		t.Errorf("mask %v", before.Mask)
	}
	if _, err := s.EditMask(e11, []frame.MaskDirective{deleting(macB), {Directive: 9, MAC: macB}}); err == nil {
		t.Error("a directive that there is not was carried out")
	}
	var many []frame.MaskDirective
	for i := range target.MaxMask {
		many = append(many, adding(frame.MAC{2, 7, 0, 0, 0, byte(i)}))
	}
	if _, err := s.EditMask(e11, many); !errors.Is(err, target.ErrListFull) {
		t.Errorf("too many: %v", err)
	}
	if now := must(s.SettingsOf(e11)); !slices.Equal(now.Mask, before.Mask) {
		t.Errorf("after edits that failed: %v, want %v: all or nothing", now.Mask, before.Mask)
	}

	if err := s.SetWireEdits(e11, target.EditsAny); err != nil {
		t.Fatal(err)
	}
	wantConfig(t, r.ask(from(macB, r.query(e11, cfgForce, "by wire"))), cfgForce, "by wire")
	if err := s.SetWireEdits(e11, 0); err != nil { // that of the server
		t.Fatal(err)
	}
	wantError(t, r.ask(from(macB, r.query(e11, cfgForce, "x"))), aoe.ErrorBadArgumentParameter)

	for _, err := range []error{
		s.SetWireEdits(e12, 0), s.Resize(e12, 0), s.Give(e12, target.Given{}),
		func() error { _, err := s.SettingsOf(e12); return err }(),
		func() error { _, err := s.SetReserve(e12, nil, true); return err }(),
	} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a disk that there is not: %v", err)
		}
	}
}

// TestH24OwnersEditsAreKept, and those that cannot be do not hold.
func TestH24OwnersEditsAreKept(t *testing.T) {
	k := &keeper{kept: map[frame.Addr]target.Settings{}}
	r := serve(t, target.Config{Keeper: k}, 1, disk(e11, 1000))
	if _, err := r.server.SetConfigString(e11, []byte("kept"), false); err != nil || string(k.kept[e11].ConfigString) != "kept" {
		t.Errorf("kept %+v, %v", k.kept[e11], err)
	}
	full := errors.New("no room")
	k.hook = func() error { return full }
	if _, err := r.server.SetConfigString(e11, []byte("lost"), true); !errors.Is(err, full) {
		t.Errorf("could not be kept: %v", err)
	}
	wantConfig(t, r.ask(r.query(e11, cfgRead, "")), cfgRead, "kept")
}

// TestGiven: at each start the disk is added with some words, and meanwhile it is
// edited. The latest word of all holds, for config string and mask apart.
func TestGiven(t *testing.T) {
	k := &keeper{kept: map[frame.Addr]target.Settings{}}
	start := func(g target.Given, then func(*rig), config string, mask ...frame.MAC) {
		t.Helper()
		d := disk(e11, 1000)
		d.Given = g
		r := serve(t, target.Config{Keeper: k}, 1, d)
		if then != nil {
			then(r)
		}
		if st := r.stats(e11).Settings; string(st.ConfigString) != config || !slices.Equal(st.Mask, mask) {
			t.Errorf("config string %q, mask %v, want %q, %v", st.ConfigString, st.Mask, config, mask)
		}
		r.close()
	}
	given := func(config string, mask ...frame.MAC) target.Given {
		return target.Given{ConfigString: []byte(config), Mask: mask}
	}
	edit := func(r *rig) {
		if _, err := r.server.SetConfigString(e11, []byte("edited"), true); err != nil {
			t.Fatal(err)
		}
		if _, err := r.server.EditMask(e11, []frame.MaskDirective{adding(macB)}); err != nil {
			t.Fatal(err)
		}
	}
	start(given("one", macA), nil, "one", macA)
	start(given("one", macA), edit, "edited", macA, macB)
	start(given("one", macA), nil, "edited", macA, macB)
	start(given("one", macTester), nil, "edited", macTester)
	start(given("two", macTester), edit, "edited", macTester, macB)
	start(given("two"), nil, "edited") // whoever opens the disk to everyone is obeyed too
	start(given("two"), func(r *rig) {
		if err := r.server.Give(e11, given("three", macA)); err != nil {
			t.Fatal(err)
		}
	}, "three", macA)
	start(given("three", macA), nil, "three", macA)

	k.kept[e11] = target.Settings{ConfigString: []byte("from before there were words")}
	start(given(""), nil, "from before there were words")
	start(given("", macA), nil, "from before there were words", macA)
}

// TestH16ResizeByItsOwner: within the store, announced, and binding at once.
func TestH16ResizeByItsOwner(t *testing.T) {
	path := image(t, 1000*frame.SectorSize)
	st, err := store.Open(store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, target.Config{Watch: -1}, 1, target.Disk{Addr: e11, Store: st, Length: 100 * frame.SectorSize})
	size := func(want uint64) {
		t.Helper()
		if got := r.stats(e11).Sectors; got != want {
			t.Fatalf("%d sectors, want %d", got, want)
		}
		wantOK(t, r.ask(r.read(e11, want-1, 1)))
		wantFail(t, r.ask(r.read(e11, want, 1)), frame.ErrorIDNF)
	}
	resize := func(sectors int64, want uint64) {
		t.Helper()
		if err := r.server.Resize(e11, sectors*frame.SectorSize); err != nil {
			t.Fatal(err)
		}
		r.announced(r.tap)
		size(want)
	}
	size(100)
	resize(500, 500)
	resize(10, 10)
	resize(1000, 1000)
	for _, bytes := range []int64{-512, 100, 1001 * frame.SectorSize} {
		if err := r.server.Resize(e11, bytes); err == nil {
			t.Errorf("resized to %d bytes of %d", bytes, 1000*frame.SectorSize)
		}
	}
	size(1000)
	truncate(t, path, 1200*frame.SectorSize)
	size(1000)      // it was told to be as large as that
	resize(0, 1200) // and from now on as large as it is
}

// TestLinksComeAndGo: what is asked on the links that stay is answered as if
// nothing was.
func TestLinksComeAndGo(t *testing.T) {
	r := serve(t, target.Config{}, 2, disk(e11, 1000))
	gone := r.taps[1]
	if err := r.server.RemoveLink(gone); err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Send(nil); err == nil {
		t.Error("the link was not closed")
	}
	wantOK(t, r.ask(r.read(e11, 0, 1)))
	if n := len(r.server.Stats().Links); n != 1 {
		t.Errorf("%d links", n)
	}
	if err := r.server.RemoveLink(gone); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("again: %v", err)
	}
	again := newTap(frame.MAC{2, 0, 0, 0, 9, 9}, 1500)
	if err := r.server.AddLink(again); err != nil {
		t.Fatal(err)
	}
	r.announced(again)
	if err := r.server.RemoveLink(r.tap); err != nil {
		t.Fatal(err)
	}
	again.in <- to(again.State().MAC, r.read(e11, 0, 1))
	wantOK(t, r.next(again))
	// Without a link it serves on: one may come.
	if err := r.server.RemoveLink(again); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.served:
		t.Fatalf("Serve returned: %v", err)
	default:
	}
}

// TestRemovedLinkLeavesItsRequests: what came from it is carried out, though
// nobody is answered.
func TestRemovedLinkLeavesItsRequests(t *testing.T) {
	g := newGate(1000*frame.SectorSize, writes)
	r := serve(t, target.Config{}, 2, target.Disk{Addr: e11, Store: g})
	r.tap.in <- r.write(e11, 0, sectors(1, 7))
	r.until("the write is held", func() bool { return r.stats(e11).Held == 1 })
	if err := r.server.RemoveLink(r.tap); err != nil {
		t.Fatal(err)
	}
	g.open(1)
	r.until("the write is done", func() bool { return r.stats(e11).Held == 0 })
	r.tap = r.taps[1]
	read := to(r.tap.State().MAC, r.read(e11, 0, 1))
	wantData(t, r.ask(read), sectors(1, 7))
}

// TestLinkRemovedBeforeServing was never served.
func TestLinkRemovedBeforeServing(t *testing.T) {
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tp := newTap(macTarget, 1500)
	if err := s.AddLink(tp); err != nil {
		t.Fatal(err)
	}
	var l link.Link = tp
	if err := errors.Join(s.RemoveLink(l), s.Close()); err != nil {
		t.Error(err)
	}
}

// TestDiskOfItsOwnSize: what one disk is told otherwise than the server.
func TestDiskOfItsOwnSize(t *testing.T) {
	d := disk(e12, 1000)
	d.BufferCount, d.Length = 5, 10*frame.SectorSize
	r := serve(t, target.Config{BufferCount: 9}, 1, disk(e11, 1000), d)
	if c := configOf(t, r.ask(r.query(e11, cfgRead, ""))); c.BufferCount != 9 {
		t.Errorf("%d buffers", c.BufferCount)
	}
	if c := configOf(t, r.ask(r.query(e12, cfgRead, ""))); c.BufferCount != 5 {
		t.Errorf("%d buffers of its own", c.BufferCount)
	}
	if st := r.stats(e12); st.Buffers != 10 || st.Sectors != 10 {
		t.Errorf("%d buffers reserved, %d sectors", st.Buffers, st.Sectors)
	}
}

// TestSyncTimesAreCounted, each sync once.
func TestSyncTimesAreCounted(t *testing.T) {
	g := newGate(1000*frame.SectorSize, func(storetest.Call) bool { return false })
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: g})
	for range 3 {
		wantOK(t, r.ask(r.write(e11, 0, sectors(1, 1))))
	}
	st := r.stats(e11)
	var n uint64
	for _, c := range st.SyncTimes.Counts {
		n += c
	}
	if n != 3 || st.Syncs != 3 || st.SyncTimes.Sum <= 0 {
		t.Errorf("%d syncs, %+v", st.Syncs, st.SyncTimes)
	}
}

// TestEditsAreLogged, whoever makes them.
func TestEditsAreLogged(t *testing.T) {
	var l lines
	cfg := target.Config{Log: slog.New(slog.NewTextHandler(&l, nil)), Watch: time.Millisecond, WireEdits: target.EditsAny}
	r := serve(t, cfg, 1, disk(e11, 1000))
	r.ask(r.query(e11, cfgSet, "by wire"))
	r.until("an edit over the wire is logged", func() bool { return l.has("settings edited") && l.has(`configString="by wire"`) })
	if _, err := r.server.EditMask(e11, []frame.MaskDirective{adding(macB)}); err != nil {
		t.Fatal(err)
	}
	r.until("an edit of the owner is logged", func() bool { return l.has("mask=[" + macB.String() + "]") })
}
