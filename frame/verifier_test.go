package frame

import "testing"

// TestVerifierInAnswers: it stands in the LBA registers, and an address is none.
func TestVerifierInAnswers(t *testing.T) {
	request := func(op Opcode, lba uint64) []byte {
		return Pad(NewATA(op, lba, 1).Append(Header{}.Append(nil)))
	}
	for _, row := range []struct {
		op  Opcode
		lba uint64
	}{{OpWriteExt, 0}, {OpWriteExt, 1<<47 - 1}, {OpWrite, mask28}, {OpFlush, 0}, {OpFlushExt, 0}, {OpTrim, 0}} {
		b := request(row.op, row.lba)
		PutResult(b, StatusDRDY, 0, 0)
		a, _, err := ParseATA(b[HeaderLen:])
		if err != nil || a.Verifier() != 0 {
			t.Errorf("%v at %#x: an answer without a verifier has %v, %v", row.op, row.lba, a.Verifier(), err)
		}
		v := NewVerifier(0xfedc_ba98_7654_3210)
		PutVerifier(b, v)
		if a, _, err = ParseATA(b[HeaderLen:]); err != nil || a.Verifier() != v {
			t.Errorf("%v at %#x: verifier %v has become %v, %v", row.op, row.lba, v, a.Verifier(), err)
		}
		if b[HeaderLen+10] != 0 || b[HeaderLen+11] != 0 || a.Status() != StatusDRDY {
			t.Errorf("%v at %#x: the verifier is where it should not be: %x", row.op, row.lba, b)
		}
	}
}

// TestVerifier: it is never zero, and survives as text.
func TestVerifier(t *testing.T) {
	for _, n := range []uint64{0, 1, 1<<47 - 1, 1 << 47, 1<<64 - 1} {
		if v := NewVerifier(n); v == 0 || verifier(uint64(v)) != v || uint64(v) > mask48 {
			t.Errorf("%#x makes %v", n, v)
		}
	}
	text, err := NewVerifier(0xabc).MarshalText()
	if err != nil || string(text) != "800000000abc" {
		t.Errorf("as text %q, %v", text, err)
	}
	var back Verifier
	if err := back.UnmarshalText(text); err != nil || back != NewVerifier(0xabc) {
		t.Errorf("from text %v, %v", back, err)
	}
	for _, s := range []string{"disk", "1000000000000"} {
		if err := back.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q is a verifier", s)
		}
	}
}
