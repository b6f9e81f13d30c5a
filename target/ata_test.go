package target_test

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"
	"aoe/target/store"
	"aoe/target/store/storetest"
)

// What was written is read, in every form of the commands, and what was not
// written is zeros.
func TestReadWrite(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	wantData(t, r.ask(r.read(e11, 0, 8)), sectors(8, 0))
	for i, op := range []struct{ write, read frame.Opcode }{
		{frame.OpWrite, frame.OpRead}, {frame.OpWriteExt, frame.OpReadExt}, {frame.OpWrite, frame.OpReadExt},
	} {
		data := append(sectors(1, byte(3*i+1)), sectors(1, byte(3*i+2))...)
		wantOK(t, r.ask(r.ata(e11, op.write, uint64(10*i), 2, data)))
		wantData(t, r.ask(r.ata(e11, op.read, uint64(10*i), 2, nil)), data)
	}
	wantOK(t, r.ask(r.write(e11, 999, sectors(1, 9)))) // the last sector is usable
	wantData(t, r.ask(r.read(e11, 998, 2)), append(sectors(1, 0), sectors(1, 9)...))
	st := r.stats(e11)
	if st.Writes != 4 || st.Reads != 5 || st.ReadBytes != (8+2+2+2+2)*512 {
		t.Errorf("counted %d writes and %d reads of %d bytes", st.Writes, st.Reads, st.ReadBytes)
	}
}

// A jumbo frame holds 17 sectors, an ordinary one 2.
func TestH21FramesAreUsedWhole(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	data := sectors(17, 7)
	wantOK(t, r.ask(r.write(e11, 0, data)))
	wantData(t, r.ask(r.read(e11, 0, 17)), data)
	wantError(t, r.ask(r.read(e11, 0, 18)), aoe.ErrorBadArgumentParameter)
	if n := configOf(t, r.ask(r.query(e11, aoe.ConfigCommandRead, ""))).SectorCount; n != 17 {
		t.Errorf("%d sectors advertised at MTU 9000, want 17", n)
	}
	r.tap.change(func(st *link.State) { st.MTU = 1500 })
	if n := configOf(t, r.announced(r.tap)).SectorCount; n != 2 {
		t.Errorf("%d sectors announced at MTU 1500, want 2", n)
	}
	wantError(t, r.ask(r.read(e11, 0, 3)), aoe.ErrorBadArgumentParameter)
	wantData(t, r.ask(r.read(e11, 0, 2)), sectors(2, 7))
}

func TestIdentify(t *testing.T) {
	d := disk(e11, 1000)
	d.Model, d.Serial = "A disk for tests", "42"
	r := serve(t, target.Config{Instance: 0xabcdef}, 1, d, target.Disk{
		Addr: e12, Store: store.Memory(1 << 20), Mode: target.ModeFlush,
	})
	id, err := frame.ParseIdentify(wantOK(t, r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil))))
	if err != nil {
		t.Fatal(err)
	}
	if id.Verifier == 0 {
		t.Error("no verifier")
	}
	want := frame.Identify{
		Serial: "42", Model: "A disk for tests", Firmware: "1", Sectors: 1000,
		Flush: true, FlushExt: true, Trim: true, TrimZeroes: true, PhysicalSectorSize: 4096,
		Instance: 0xabcdef, Verifier: id.Verifier,
	}
	if id != want {
		t.Errorf("IDENTIFY says\n%+v, want\n%+v", id, want)
	}
	id, _ = frame.ParseIdentify(wantOK(t, r.ask(r.ata(e12, frame.OpIdentify, 0, 1, nil))))
	if !id.WriteCache {
		t.Error("a disk in flush mode does not admit its write cache")
	}
	if len(id.Serial) != frame.SerialLen || id.Model == "" {
		t.Errorf("serial %q, model %q: want defaults", id.Serial, id.Model)
	}
}

// TestH15PaddedIdentify: the request may be as long as the MTU; the answer is as
// long as it has to be. The serial is the same over every link.
func TestH15PaddedIdentify(t *testing.T) {
	r := serve(t, target.Config{}, 2, disk(e11, 1000))
	plain := r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil))
	for _, n := range []int{frame.ATADataOffset, 60, 1514, 9014} {
		f := r.ata(e11, frame.OpIdentify, 0, 1, nil)
		if n > len(f) {
			f = append(f, bytes.Repeat([]byte{0x77}, n-len(f))...)
		}
		got := r.ask(f[:n])
		if len(got) != frame.ATADataOffset+512 || !bytes.Equal(got[frame.ATADataOffset:], plain[frame.ATADataOffset:]) {
			t.Errorf("a request of %d bytes gets another answer, of %d bytes", n, len(got))
		}
	}
	f := r.ata(e11, frame.OpIdentify, 0, 1, nil)
	copy(f, r.taps[1].state.MAC[:])
	r.taps[1].in <- f
	if got := r.answer(r.taps[1], f); !bytes.Equal(got[frame.ATADataOffset:], plain[frame.ATADataOffset:]) {
		t.Error("the other link identifies another disk")
	}
}

// TestH1InstanceIsTheServers: every disk shows the same one, on every link
// (TestH15PaddedIdentify), and another server, of the same disk too, another.
func TestH1InstanceIsTheServers(t *testing.T) {
	instance := func(r *rig, a frame.Addr) frame.Instance {
		id, err := frame.ParseIdentify(wantOK(t, r.ask(r.ata(a, frame.OpIdentify, 0, 1, nil))))
		if err != nil {
			t.Fatal(err)
		}
		return id.Instance
	}
	one := serve(t, target.Config{}, 1, disk(e11, 1000), disk(e12, 1000))
	other := serve(t, target.Config{}, 1, disk(e11, 1000))
	a, b, c := instance(one, e11), instance(one, e12), instance(other, e11)
	if a == 0 || a != b || c == 0 || c == a {
		t.Errorf("one server shows %v and %v, another %v", a, b, c)
	}
}

// Two servers of one file agree on its serial, and a copy has another.
func TestH15SerialFollowsTheStore(t *testing.T) {
	serial := func(s store.Store) string {
		r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: s})
		id, err := frame.ParseIdentify(wantOK(t, r.ask(r.ata(e11, frame.OpIdentify, 0, 1, nil))))
		if err != nil {
			t.Fatal(err)
		}
		r.close()
		return id.Serial
	}
	p, q := image(t, 1<<20), image(t, 1<<20)
	open := func(p string) store.Store {
		s, err := store.Open(store.Config{Path: p})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, again, other := serial(open(p)), serial(open(p)), serial(open(q))
	if first != again || first == other || len(first) != frame.SerialLen {
		t.Errorf("serials %q, then %q; another file %q", first, again, other)
	}
}

func TestCheckPower(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	f := r.ask(r.ata(e11, frame.OpCheckPower, 0, 0, nil))
	wantOK(t, f)
	if a, _ := ataOf(t, f); a.Count != 0xff {
		t.Errorf("power mode %#x, want active: 0xff", a.Count)
	}
}

// What a disk does not know it aborts, and says so as a disk does.
func TestUnknownATACommandsAreAborted(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	known := []frame.Opcode{
		frame.OpRead, frame.OpReadExt, frame.OpWrite, frame.OpWriteExt, frame.OpFlush,
		frame.OpFlushExt, frame.OpIdentify, frame.OpCheckPower,
	}
	for op := range 256 {
		if bytes.IndexByte(opcodes(known), byte(op)) >= 0 {
			continue
		}
		// DATA SET MANAGEMENT among them: without the feature bit it is no TRIM.
		wantFail(t, r.ask(r.ata(e11, frame.Opcode(op), 0, 1, nil)), frame.ErrorABRT)
	}
}

func opcodes(ops []frame.Opcode) (b []byte) {
	for _, op := range ops {
		b = append(b, byte(op))
	}
	return b
}

func (r *rig) trim(a frame.Addr, ranges ...frame.TrimRange) []byte {
	data := make([]byte, 0, frame.SectorSize)
	for _, x := range ranges {
		data = x.Append(data)
	}
	f := r.ata(a, frame.OpTrim, 0, 1, data[:frame.SectorSize])
	f[frame.HeaderLen+1] = frame.FeatureTrim
	return f
}

func TestTrim(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000),
		target.Disk{Addr: e12, Store: store.Memory(1 << 20), ReadOnly: true})
	wantOK(t, r.ask(r.write(e11, 0, sectors(16, 1))))
	wantOK(t, r.ask(r.trim(e11, frame.TrimRange{LBA: 2, Sectors: 3}, frame.TrimRange{}, frame.TrimRange{LBA: 10, Sectors: 1})))
	want := sectors(16, 1)
	clear(want[2*512 : 5*512])
	clear(want[10*512 : 11*512])
	wantData(t, r.ask(r.read(e11, 0, 16)), want)

	wantOK(t, r.ask(r.trim(e11))) // 64 empty ranges
	wantFail(t, r.ask(r.trim(e11, frame.TrimRange{LBA: 999, Sectors: 2})), frame.ErrorIDNF)
	wantFail(t, r.ask(r.trim(e11, frame.TrimRange{LBA: 1 << 47, Sectors: 0xffff})), frame.ErrorIDNF)
	wantFail(t, r.ask(r.trim(e12, frame.TrimRange{LBA: 1, Sectors: 2})), frame.ErrorABRT)
	wantData(t, r.ask(r.read(e11, 0, 16)), want)
	if st := r.stats(e11); st.Trims != 2 {
		t.Errorf("%d trims counted, want 2", st.Trims)
	}
}

func TestReadOnlyDiskRefusesWrites(t *testing.T) {
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: store.Memory(1 << 20), ReadOnly: true})
	wantFail(t, r.ask(r.write(e11, 0, sectors(1, 1))), frame.ErrorABRT)
	wantData(t, r.ask(r.read(e11, 0, 1)), sectors(1, 0))
	wantOK(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)))
}

// vblade takes the length of the answer from the W flag, and with the flag
// clear on a write answers with memory. Here the opcode decides.
func TestVbladeKillerWriteFlagClear(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	f := r.write(e11, 0, sectors(2, 5))
	f[frame.HeaderLen] &^= frame.AFlagWrite
	got := r.ask(f)
	wantOK(t, got)
	if len(got) != frame.MinLen {
		t.Errorf("the answer to a write has %d bytes", len(got))
	}
	g := r.read(e11, 0, 2)
	g[frame.HeaderLen] |= frame.AFlagWrite
	wantData(t, r.ask(g), sectors(2, 5))
}

// TestH18StoreFailuresAreATAErrors: a disk that cannot read, write or trim says
// so as a disk does, with whatever error and at whatever moment, and lives on.
func TestH18StoreFailuresAreATAErrors(t *testing.T) {
	for _, row := range []struct {
		name   string
		err    error
		prompt float64
	}{
		{"EIO at once", syscall.EIO, 1},
		{"EIO after waiting", syscall.EIO, 0},
		{"ENOSPC after waiting", syscall.ENOSPC, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			var failing bool
			f := storetest.NewFault(store.Memory(1<<20), storetest.FaultConfig{
				Prompt: row.prompt,
				Hook: func(c storetest.Call) error {
					if failing && c.Op != storetest.Sync {
						return row.err
					}
					return nil
				},
			})
			r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: f})
			wantOK(t, r.ask(r.write(e11, 0, sectors(2, 1))))
			failing = true
			wantFail(t, r.ask(r.read(e11, 0, 2)), frame.ErrorUNC)
			wantFail(t, r.ask(r.write(e11, 0, sectors(2, 2))), frame.ErrorABRT)
			wantFail(t, r.ask(r.trim(e11, frame.TrimRange{LBA: 1, Sectors: 1})), frame.ErrorABRT)
			failing = false
			wantData(t, r.ask(r.read(e11, 0, 2)), sectors(2, 1))
			st := r.stats(e11)
			if st.ReadErrors != 1 || st.WriteErrors != 2 || st.Broken != row.err.Error() || st.Failed != "" {
				t.Errorf("counted %d read and %d write errors, %q, %q", st.ReadErrors, st.WriteErrors, st.Broken, st.Failed)
			}
		})
	}
}

// TestH9MalformedRequests: what does not make sense is refused before the disk
// is touched, and never answered with what was in memory (tap checks that).
func TestH9MalformedRequests(t *testing.T) {
	const size = 1000
	f := storetest.NewFault(store.Memory(size*512), storetest.FaultConfig{Prompt: 1})
	r := serve(t, target.Config{}, 1, target.Disk{Addr: e11, Store: f})
	cut := func(b []byte, n int) []byte { return b[:n] }
	edit := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	badArgument := func(f []byte) { t.Helper(); wantError(t, f, aoe.ErrorBadArgumentParameter) }
	notFound := func(f []byte) { t.Helper(); wantFail(t, f, frame.ErrorIDNF) }
	for _, row := range []struct {
		name string
		f    []byte
		want func([]byte)
	}{
		{"an ATA argument cut short", cut(r.read(e11, 0, 1), 35), badArgument},
		{"no ATA argument at all", cut(r.read(e11, 0, 1), 24), badArgument},
		{"a read of no sectors", r.read(e11, 0, 0), badArgument},
		{"a write of no sectors", r.ata(e11, frame.OpWriteExt, 0, 0, []byte{}), badArgument},
		{"a read of more than a frame holds", r.read(e11, 0, 18), badArgument},
		{"a read of 255 sectors", r.read(e11, 0, 255), badArgument},
		{"a write without data", r.ata(e11, frame.OpWriteExt, 0, 1, nil), badArgument},
		{"a write with a byte too few", cut(r.write(e11, 0, sectors(2, 1)), 36+1023), badArgument},
		{"a write with a sector too few", cut(r.write(e11, 0, sectors(2, 1)), 36+512), badArgument},
		{"a write of more than a frame holds", r.ata(e11, frame.OpWriteExt, 0, 255, sectors(17, 1)), badArgument},
		{"a trim without data", edit(r.ata(e11, frame.OpTrim, 0, 1, nil), 25, 1), badArgument},
		{"a trim of no blocks", edit(r.ata(e11, frame.OpTrim, 0, 0, sectors(1, 0)), 25, 1), badArgument},
		{"a trim with a byte too few", cut(r.trim(e11), 36+511), badArgument},
		{"a read behind the end", r.read(e11, size, 1), notFound},
		{"a read over the end", r.read(e11, size-1, 2), notFound},
		{"a write over the end", r.write(e11, size-1, sectors(2, 1)), notFound},
		{"the largest address", r.read(e11, 1<<48-1, 17), notFound},
		{"the largest address to write", r.write(e11, 1<<48-1, sectors(17, 1)), notFound},
		{"a query cut short", cut(r.query(e11, aoe.ConfigCommandRead, ""), 31), badArgument},
		{"a string longer than the frame", edit(r.query(e11, aoe.ConfigCommandSet, ""), 30, 0, 200), badArgument},
		{"a string of 1025 bytes", edit(append(r.query(e11, aoe.ConfigCommandSet, ""), sectors(4, 1)...), 30, 4, 1), badArgument},
		{"a string of 65535 bytes", edit(r.query(e11, aoe.ConfigCommandForceSet, ""), 30, 255, 255), badArgument},
		{"a query of another kind", edit(r.query(e11, 0, ""), 29, 0x15), badArgument},
		{"a mask cut short", cut(r.mask(e11, aoe.MACMaskCommandRead), 27), badArgument},
		{"more directives than there are", edit(r.mask(e11, aoe.MACMaskCommandEdit), 27, 255), badArgument},
		{"a mask command of another kind", r.mask(e11, 2), badArgument},
		{"a reserve list cut short", cut(r.reserve(e11, aoe.ReserveReleaseCommandRead), 25), badArgument},
		{"more MACs than there are", edit(r.reserve(e11, aoe.ReserveReleaseCommandSet), 25, 255), badArgument},
		{"a reserve command of another kind", r.reserve(e11, 3), badArgument},
		{"a command that there is not", r.header(e11, 4), func(f []byte) { wantError(t, f, aoe.ErrorUnrecognizedCommandCode) }},
		{"a vendor's command", r.header(e11, 0xf0), func(f []byte) { wantError(t, f, aoe.ErrorUnrecognizedCommandCode) }},
		{"version 2", edit(r.read(e11, 0, 1), 14, 0x20), func(f []byte) { wantError(t, f, aoe.ErrorUnsupportedVersion) }},
		{"version 0", edit(r.read(e11, 0, 1), 14, 0x00), func(f []byte) { wantError(t, f, aoe.ErrorUnsupportedVersion) }},
	} {
		t.Run(row.name, func(t *testing.T) { row.want(r.ask(row.f)) })
	}
	for _, op := range []storetest.Op{storetest.Read, storetest.Write, storetest.Trim} {
		if n := f.Calls(op); n != 0 {
			t.Errorf("the disk was asked to %v %d times", op, n)
		}
	}
	if st := r.stats(e11); len(st.Settings.ConfigString) != 0 || len(st.Settings.Mask) != 0 || len(st.Settings.Reserve) != 0 {
		t.Errorf("something was set: %+v", st.Settings)
	}
}

// Every prefix of a good request is refused, ignored, or, where only padding is
// missing, carried out.
func TestH9EveryPrefix(t *testing.T) {
	r := serve(t, editable, 1, disk(e11, 1000))
	for _, row := range []struct {
		name   string
		f      []byte
		enough int // bytes that make it whole
	}{
		{"read", r.read(e11, 0, 2), 36},
		{"write", r.write(e11, 0, sectors(2, 1)), 36 + 1024},
		{"trim", r.trim(e11, frame.TrimRange{LBA: 5, Sectors: 1}), 36 + 512},
		{"query", r.query(e11, aoe.ConfigCommandTestPrefix, ""), 32},
		{"set", r.query(e11, aoe.ConfigCommandForceSet, "a string"), 40},
		{"mask", r.mask(e11, aoe.MACMaskCommandEdit, frame.MaskDirective{}), 36},
		{"reserve", r.reserve(e11, aoe.ReserveReleaseCommandSet, macA), 32},
	} {
		for n := range len(row.f) + 1 {
			f := bytes.Clone(row.f[:n])
			if n < frame.HeaderLen {
				r.silent(f)
				continue
			}
			got := r.ask(f)
			if h, _, _ := frame.Parse(got); h.IsError() != (n < row.enough) {
				t.Errorf("%s: %d of %d bytes: error %v", row.name, n, len(row.f), h.Error)
			}
		}
		wantOK(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)))
	}
}

// vblade takes a write that holds less than it counts, and writes what was in
// its memory.
func TestVbladeKillerShortWrite(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	wantOK(t, r.ask(r.write(e11, 0, sectors(8, 1))))
	f := r.ata(e11, frame.OpWriteExt, 0, 8, sectors(1, 2))
	wantError(t, r.ask(f), aoe.ErrorBadArgumentParameter)
	wantData(t, r.ask(r.read(e11, 0, 8)), sectors(8, 1))
}

// TestH10RuntsAndGiants: frames that were cut on the way, frames longer than the
// link's, and frames that are not AoE do no harm.
func TestH10RuntsAndGiants(t *testing.T) {
	r := serve(t, target.Config{}, 1, disk(e11, 1000))
	for _, n := range []int{0, 1, 13, 14, 23} {
		r.silent(bytes.Clone(r.read(e11, 0, 1)[:n]))
	}
	foreign := r.read(e11, 0, 1)
	foreign[12], foreign[13] = 0x08, 0x00
	r.silent(foreign)
	tagged := r.read(e11, 0, 1) // a VLAN tag that nobody took off
	tagged[12], tagged[13] = 0x81, 0x00
	r.silent(tagged)
	giant := append(r.read(e11, 0, 1), make([]byte, 12288-60)...)
	wantData(t, r.ask(giant), sectors(1, 0))
	r.silent(append(r.read(e11, 0, 1), make([]byte, 60000)...)) // the link drops it
	if st := r.server.Stats().Links[0]; st.Runts != 5 || st.Foreign != 2 {
		t.Errorf("%d runts and %d foreign frames counted, want 5 and 2", st.Runts, st.Foreign)
	}
}

// TestH16ShrunkenStoreDoesNotLie: reading what was cut off from a file is an
// error, and not what was in the buffer.
func TestH16ShrunkenStoreDoesNotLie(t *testing.T) {
	p := image(t, 1<<20)
	s, err := store.Open(store.Config{Path: p})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, target.Config{Watch: -1}, 1, target.Disk{Addr: e11, Store: s})
	truncate(t, p, 4096+100)
	wantFail(t, r.ask(r.read(e11, 8, 1)), frame.ErrorUNC)
	wantFail(t, r.ask(r.read(e11, 7, 2)), frame.ErrorUNC)
	wantData(t, r.ask(r.read(e11, 7, 1)), sectors(1, 0))
}
