package guard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"aoe/frame"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// inverse are the jumps that go the other way.
var inverse = map[asm.JumpOp]asm.JumpOp{
	asm.JEq: asm.JNE, asm.JNE: asm.JEq, asm.JGE: asm.JLT, asm.JLT: asm.JGE, asm.JGT: asm.JLE, asm.JLE: asm.JGT,
}

// mutants are p with its instruction i broken in one way each.
func mutants(p asm.Instructions, i int) (all []asm.Instructions, names []string) {
	with := func(name string, ins asm.Instruction) {
		q := slices.Clone(p)
		q[i] = ins.WithMetadata(p[i].Metadata)
		all, names = append(all, q), append(names, name)
	}
	ins := p[i]
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

// observed are what a program said of a corpus, frame by frame, and how it
// counted, in each of some states that the functions make.
func observed(t testing.TB, p *ebpf.Program, counters *ebpf.Map, n verdict, corpus [][]byte, states []func()) string {
	t.Helper()
	before, err := read(counters, n)
	if err != nil {
		t.Fatal(err)
	}
	var said []uint32
	for _, enter := range states {
		enter()
		for _, b := range corpus {
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
// and sees to it that the corpus tells, unless the verifier does not load it.
// unseen are instructions, as printed, that no corpus can tell, with the reason.
func mutate(t *testing.T, spec *ebpf.ProgramSpec, counters *ebpf.Map, n verdict, corpus [][]byte, states []func(), unseen map[string]string) {
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
	want := observed(t, sound, counters, n, corpus, states)
	refused, noticed := 0, 0
	for i := range spec.Instructions {
		all, names := mutants(spec.Instructions, i)
		for j, q := range all {
			p, err := load(q)
			if err != nil {
				refused++
				continue
			}
			got := observed(t, p, counters, n, corpus, states)
			p.Close()
			if got != want {
				noticed++
				continue
			}
			said := fmt.Sprintf("%v: %s", spec.Instructions[i], names[j])
			if unseen[said] == "" {
				t.Errorf("instruction %d, %s: nobody noticed", i, said)
			}
		}
	}
	t.Logf("%d instructions: %d mutants noticed by %d frames, %d refused by the verifier", len(spec.Instructions), noticed, len(corpus), refused)
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
	}, table.counters, filterVerdicts, corpus, []func(){
		table.Ask,
		func() { table.words.store(wordMode, modeServing) },
	}, map[string]string{
		"MovImm dst: r8 imm: 4: constant + 1":                      "a test run has no VLAN tag: TestFilterOnASocket",
		"MovImm dst: r8 imm: 4: left out":                          "the same",
		"LdXMemW dst: r3 src: r6 off: 20 imm: 0: the field behind": "the same",
		"LdXMemW dst: r3 src: r6 off: 20 imm: 0: left out":         "the same",
		"JNEImm dst: r3 off: -1 imm: 0 <drop>: left out":           "the same",
		"JEqImm dst: r0 off: -1 imm: 0 <drop>: constant + 1":       "an array has its element 0",
		"JEqImm dst: r0 off: -1 imm: 0 <drop>: left out":           "the same; older verifiers refuse it",
		"Ja off: -1 <keep>: left out":                              "goes to the next instruction here",
	})
}
