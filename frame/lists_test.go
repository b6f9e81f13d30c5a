package frame

import (
	"bytes"
	"testing"

	"github.com/mdlayher/aoe"
)

// TestMask: every field is where AoEr11, section 3.3 draws it.
func TestMask(t *testing.T) {
	b := []byte{0, 1, 0, 2,
		0, 1, 1, 2, 3, 4, 5, 6,
		0, 2, 7, 8, 9, 10, 11, 12}
	for name, parse := range map[string]func([]byte) (Mask, error){"request": ParseMask, "reply": ParseMaskReply} {
		m, err := parse(append(bytes.Clone(b), "padding"...))
		if err != nil || m.Sub != aoe.MACMaskCommandEdit || m.Error != 0 || m.Count != 2 || m.Len() != 2 {
			t.Fatalf("%s: got %+v, %v", name, m, err)
		}
		if want := (MaskDirective{aoe.DirectiveCommandAdd, MAC{1, 2, 3, 4, 5, 6}}); m.At(0) != want {
			t.Errorf("%s: first directive %+v, want %+v", name, m.At(0), want)
		}
		if want := (MaskDirective{aoe.DirectiveCommandDelete, MAC{7, 8, 9, 10, 11, 12}}); m.At(1) != want {
			t.Errorf("%s: second directive %+v, want %+v", name, m.At(1), want)
		}
		if again := appendMask(nil, m); !bytes.Equal(again, b) {
			t.Errorf("%s: got %x\nwant %x", name, again, b)
		}
		if !panics(func() { m.At(2) }) {
			t.Errorf("%s: a third directive of two", name)
		}
	}
}

// TestMaskError: in a reply the count is then an index and nothing follows it.
// In a request the field means nothing, and must not make edits disappear.
func TestMaskError(t *testing.T) {
	b := Mask{aoe.MACMaskCommandEdit, aoe.MACMaskErrorListFull, 1, nil}.Append(nil)
	m, err := ParseMaskReply(b)
	if err != nil || m.Error != aoe.MACMaskErrorListFull || m.Count != 1 || m.Len() != 0 {
		t.Errorf("reply: got %+v, %v", m, err)
	}
	if m, err := ParseMask(b); err != ErrShort {
		t.Errorf("request of one directive without it: got %+v, %v, want ErrShort", m, err)
	}
	b = MaskDirective{aoe.DirectiveCommandAdd, macOther}.Append(b)
	if m, err := ParseMask(b); err != nil || m.Len() != 1 || m.At(0).MAC != macOther {
		t.Errorf("request of one directive: got %+v, %v", m, err)
	}
}

// TestReserve: every field is where AoEr11, section 3.4 draws it.
func TestReserve(t *testing.T) {
	b := []byte{2, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	r, err := ParseReserve(append(bytes.Clone(b), "padding"...))
	if err != nil || r.Sub != aoe.ReserveReleaseCommandForceSet || r.Count != 2 || r.Len() != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if r.At(0) != (MAC{1, 2, 3, 4, 5, 6}) || r.At(1) != (MAC{7, 8, 9, 10, 11, 12}) {
		t.Errorf("got %v and %v", r.At(0), r.At(1))
	}
	if again := appendReserve(nil, r); !bytes.Equal(again, b) {
		t.Errorf("got %x\nwant %x", again, b)
	}
	if !panics(func() { r.At(2) }) {
		t.Error("a third MAC of two")
	}
}

// TestH9ListsLongerThanTheFrame: a count is believed only if the entries are
// there, up to 255 of them (where eight bits of length overflow).
func TestH9ListsLongerThanTheFrame(t *testing.T) {
	for count := range 256 {
		mask := Mask{Sub: aoe.MACMaskCommandEdit, Count: uint8(count)}.Append(nil)
		mask = append(mask, make([]byte, count*MaskDirectiveLen)...)
		reserve := Reserve{Sub: aoe.ReserveReleaseCommandSet, Count: uint8(count)}.Append(nil)
		reserve = append(reserve, make([]byte, count*macLen)...)

		if m, err := ParseMask(mask); err != nil || m.Len() != count {
			t.Errorf("mask of %d: %d, %v", count, m.Len(), err)
		}
		if m, err := ParseMaskReply(mask); err != nil || m.Len() != count {
			t.Errorf("mask reply of %d: %d, %v", count, m.Len(), err)
		}
		if r, err := ParseReserve(reserve); err != nil || r.Len() != count {
			t.Errorf("reserve of %d: %d, %v", count, r.Len(), err)
		}
		if count == 0 {
			continue
		}
		if m, err := ParseMask(mask[:len(mask)-1]); err != ErrShort || m.Len() != 0 {
			t.Errorf("mask of %d but for a byte: %d, %v", count, m.Len(), err)
		}
		if m, err := ParseMaskReply(mask[:len(mask)-1]); err != ErrShort || m.Len() != 0 {
			t.Errorf("mask reply of %d but for a byte: %d, %v", count, m.Len(), err)
		}
		if r, err := ParseReserve(reserve[:len(reserve)-1]); err != ErrShort || r.Len() != 0 {
			t.Errorf("reserve of %d but for a byte: %d, %v", count, r.Len(), err)
		}
	}
}
