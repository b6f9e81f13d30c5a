package guard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"aoe/frame"
	"aoe/initiator/engine"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// inverse are the jumps that go the other way.
var inverse = map[asm.JumpOp]asm.JumpOp{
	asm.JEq: asm.JNE, asm.JNE: asm.JEq, asm.JGE: asm.JLT, asm.JLT: asm.JGE, asm.JGT: asm.JLE, asm.JLE: asm.JGT,
}

// mutants are p with its instruction i broken in one way each.
//
// Constants that are moved into a register are verdicts, labels and lengths: the
// guard has many that nobody sees, and all of the filter's are tried.
func mutants(p asm.Instructions, i int, moves bool) (all []asm.Instructions, names []string) {
	with := func(name string, ins asm.Instruction) {
		q := slices.Clone(p)
		q[i] = ins.WithMetadata(p[i].Metadata)
		all, names = append(all, q), append(names, name)
	}
	ins := p[i]
	if !moves && ins.OpCode.Class().IsALU() && ins.OpCode.ALUOp() == asm.Mov {
		return nil, nil
	}
	op := ins.OpCode.JumpOp()
	switch class := ins.OpCode.Class(); {
	case class.IsJump() && op != asm.Call && op != asm.Exit && op != asm.Ja:
		turned := ins
		turned.OpCode = turned.OpCode.SetJumpOp(inverse[op])
		with("turned around", turned)
		if ins.OpCode.Source() == asm.ImmSource {
			more := ins
			more.Constant++
			with("constant + 1", more)
		}
	case class.IsALU() && ins.OpCode.Source() == asm.ImmSource && ins.OpCode.ALUOp() != asm.Swap:
		more := ins
		more.Constant++
		with("constant + 1", more)
	case class == asm.LdXClass:
		off := ins
		off.Offset += int16(ins.OpCode.Size().Sizeof())
		with("the field behind", off)
	}
	if op != asm.Call && op != asm.Exit || !ins.OpCode.Class().IsJump() {
		if !ins.IsLoadFromMap() && ins.OpCode.Size() != asm.DWord || ins.OpCode.Class() != asm.LdClass {
			with("left out", asm.Mov.Reg(asm.R9, asm.R10)) // does nothing that anybody looks at
		}
	}
	return all, names
}

// A state is something to be entered, and the frames to be looked at in it.
type state struct {
	enter  func()
	corpus [][]byte
}

// observed are what a program said in each state, frame by frame, and how it
// counted.
func observed(t testing.TB, p *ebpf.Program, counters *ebpf.Map, n verdict, states []state) string {
	t.Helper()
	before, err := read(counters, n)
	if err != nil {
		t.Fatal(err)
	}
	var said []uint32
	for _, s := range states {
		s.enter()
		for _, b := range s.corpus {
			ret, err := p.Run(runOptions(b))
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, ret)
		}
	}
	after, err := read(counters, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range after {
		after[i] -= before[i]
	}
	return fmt.Sprint(said, after)
}

// mutate breaks each instruction of a program in every way that mutants knows,
// and sees to it that the states tell, unless the verifier does not load it.
// unseen is how often an instruction, as printed, may go unnoticed.
func mutate(t *testing.T, spec *ebpf.ProgramSpec, counters *ebpf.Map, n verdict, states []state, unseen map[string]int) {
	t.Helper()
	load := func(p asm.Instructions) (*ebpf.Program, error) {
		s := spec.Copy()
		s.Instructions = slices.Clone(p)
		return ebpf.NewProgramWithOptions(s, ebpf.ProgramOptions{LogDisabled: true})
	}
	sound, err := load(spec.Instructions)
	if err != nil {
		t.Fatal(err)
	}
	defer sound.Close()
	want := observed(t, sound, counters, n, states)
	refused, noticed := 0, 0
	for i := range spec.Instructions {
		all, names := mutants(spec.Instructions, i, spec.Type == ebpf.SocketFilter)
		for j, q := range all {
			p, err := load(q)
			if err != nil {
				refused++
				continue
			}
			got := observed(t, p, counters, n, states)
			p.Close()
			if got != want {
				noticed++
				continue
			}
			said := fmt.Sprintf("%v: %s", spec.Instructions[i], names[j])
			if unseen[said]--; unseen[said] < 0 {
				t.Errorf("instruction %d, %s: nobody noticed", i, said)
			}
		}
	}
	t.Logf("%d instructions: %d mutants noticed, %d refused by the verifier", len(spec.Instructions), noticed, refused)
	if noticed < 50 {
		t.Errorf("only %d mutants were noticed: the test does not break what it should", noticed)
	}
}

// TestFilterMutants: each instruction of the filter is there for something that
// the comparison with the engine would notice.
func TestFilterMutants(t *testing.T) {
	table := newTable(t, 64)
	w := newWorld(t, table, 4)
	rng := rand.New(rand.NewPCG(4, 4))
	for len(w.sent) < 40 {
		w.step(byte(rng.Uint32()))
	}
	var corpus [][]byte
	for range 20 {
		for _, b := range hostile(w, rng) {
			agree(t, table, w, b)
			corpus = append(corpus, append(make([]byte, frame.EthernetLen), b...))
		}
	}
	corpus = append(corpus, append([]byte{2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0}, corpus[0][frame.EthernetLen:]...),
		append([]byte{255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0}, corpus[0][frame.EthernetLen:]...))
	mutate(t, &ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: license,
		Instructions: filterProgram(table.memory.FD(), table.counters.FD(), 64),
	}, table.counters, filterVerdicts, []state{
		{table.Ask, corpus},
		{func() { table.words.store(wordMode, modeServing) }, corpus},
	}, map[string]int{
		"JEqImm dst: r0 off: -1 imm: 0 <drop>: constant + 1": 1, // an array has its element 0
		"JEqImm dst: r0 off: -1 imm: 0 <drop>: left out":     1, // the same; older verifiers refuse it
		"Ja off: -1 <keep>: left out":                        1, // goes to the next instruction here
	})
}

// TestGuardMutants is the same for the guard, with an allow list.
func TestGuardMutants(t *testing.T) {
	b := newBench(t, "arp,tcp:22@10.0.0.1,icmp,ip@fe80::/10")
	second, err := NewTable(frame.Addr{Shelf: 9, Slot: 9}, engine.DefaultSlots)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	w := newWorld(t, b.table, 4)
	rng := rand.New(rand.NewPCG(4, 4))
	for len(w.sent) < 40 {
		w.step(byte(rng.Uint32()))
	}
	corpus := [][]byte{foreign()}
	for range 4 {
		for _, f := range hostile(w, rng) {
			if len(f) >= frame.EthernetLen {
				corpus = append(corpus, f)
			}
		}
	}
	corpus = append(corpus, packets()...)
	all := func(beat uint64) {
		for i := range MaxDisks {
			b.words.store(wordBeat(i), beat)
			b.words.store(wordShort(i), 0)
		}
	}
	b.openSocket(t)
	now := b.clock.now
	one := [][]byte{foreign()}
	states := []state{
		{func() { all(0); b.SetPressure(true); b.table.Ask() }, corpus},
		{func() { b.table.words.store(wordMode, modeServing) }, corpus},
		{func() { b.table.words.store(wordSocket, 1) }, corpus},
		{func() { b.table.words.store(wordSocket, 0) }, one},
		{func() { b.SetPressure(false) }, one}, // nobody has begun
		{func() { all(now()) }, one},
		{func() { all(now() - uint64(b.cfg.Stale)) }, one},
	}
	for i := range MaxDisks { // one of them is late, or short, or the only one
		states = append(states,
			state{func() { all(now()); b.words.store(wordBeat(i), now()-uint64(b.cfg.Stale)) }, one},
			state{func() { all(now()); b.words.store(wordShort(i), 1) }, one},
			state{func() { all(0); b.words.store(wordBeat(i), now()-uint64(b.cfg.Stale)) }, one},
			state{func() { all(0); b.words.store(wordBeat(i), now()) }, one})
	}
	mutate(t, &ebpf.ProgramSpec{
		Type: ebpf.XDP, License: license, Flags: unix.BPF_F_XDP_HAS_FRAGS,
		Instructions: guardProgram(b.mapFDs(), engine.DefaultSlots, b.cfg.Stale, b.cfg.Allow),
	}, b.maps.counters, guardVerdicts, states, map[string]int{
		"StXMemDW dst: rfp src: r1 off: -24 imm: 0: left out":           1, // what a frame too short for a header would read then is left to chance
		"StXMemDW dst: rfp src: r1 off: -16 imm: 0: left out":           1, // the same
		"StXMemDW dst: rfp src: r1 off: -8 imm: 0: left out":            1, // the same
		"JEqImm dst: r0 off: -1 imm: 0 <refuse>: constant + 1":          1, // an array has its element 0
		"JEqImm dst: r0 off: -1 imm: 0 <refuse>: left out":              1, // the same; older verifiers refuse it
		"Ja off: -1 <ours>: left out":                                   1, // goes to the next instruction here
		"JNEReg dst: r2 off: -1 src: r3 <refuse>: left out":             1, // the address: the table was found by it
		"JGEReg dst: r1 off: -1 src: r9 <disk-a>: left out":             1, // the first beat is always the oldest so far
		"JGTImm dst: r0 off: -1 imm: 1000000000 <crunch>: constant + 1": 1, // one nanosecond
		"JNEImm dst: r0 off: -1 imm: 0 <unreadable>: left out":          2, // of IPv4 and IPv6: matters to rules of any IP: TestAllowListMeansWhatItSays
	})
}

// packets are what an allow list might name, and what nearly is.
func packets() (all [][]byte) {
	for _, s := range []string{"10.0.0.1", "10.0.0.2", "fe80::1", "febf::1", "fec0::1", "2001:db8::1"} {
		from := netip.MustParseAddr(s)
		for _, proto := range []uint8{protoTCP, protoUDP, protoICMP, protoICMPv6} {
			for _, port := range []uint16{22, 23, 22 << 8} {
				p := ipPacket(from, proto, port, nil)
				all = append(all, p, p[:len(p)-18], p[:30])
				if from.Is4() {
					fragment := slices.Clone(p)
					fragment[14+7] = 1
					first, late := slices.Clone(p), slices.Clone(p)
					first[14+6], late[14+6] = 0x20, 0x10
					all = append(all, fragment, first, late, ipPacket(from, proto, port, []byte{0, 0, 0, 22, 0, 22, 0, 22}))
				}
			}
		}
	}
	arp := foreign()
	arp[12], arp[13] = 0x08, 0x06
	likeIPv6 := ipPacket(netip.MustParseAddr("10.0.0.9"), 0x80, 1, nil)
	likeIPv6[14+8] = 0xfe // what would be an address of fe80::/10
	return append(all, arp, arp[:30], likeIPv6)
}
