package frame

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mdlayher/aoe"
)

// TestConfig: every field is where AoEr11, section 3.2 draws it.
func TestConfig(t *testing.T) {
	b := append([]byte{0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x00, 0x06}, "rack 7"...)
	want := Config{
		BufferCount: 0x0102,
		Firmware:    0x0304,
		SectorCount: 5,
		Version:     1,
		Sub:         aoe.ConfigCommandForceSet,
		String:      []byte("rack 7"),
	}
	got, err := ParseConfig(append(bytes.Clone(b), "padding"...))
	if err != nil || !sameConfig(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if again := want.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("got %x\nwant %x", again, b)
	}
	want.Version = 0
	if again := want.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("version 0: got %x\nwant %x", again, b)
	}
	want.Sub = 0xf3
	if again := want.Append(nil); again[5] != 0x13 {
		t.Errorf("a sub-command of more than 4 bits spoils the version: %#02x", again[5])
	}
}

func sameConfig(a, b Config) bool {
	sameString := bytes.Equal(a.String, b.String)
	return sameString && a.BufferCount == b.BufferCount && a.Firmware == b.Firmware &&
		a.SectorCount == b.SectorCount && a.Version == b.Version && a.Sub == b.Sub
}

// TestH9ConfigStringLength: the longest string is 1024 bytes, and none is longer
// than the frame that carries it.
func TestH9ConfigStringLength(t *testing.T) {
	arg := func(n, there int) []byte {
		return append([]byte{0, 0, 0, 0, 0, 0, byte(n >> 8), byte(n)}, bytes.Repeat([]byte("x"), there)...)
	}
	for _, row := range []struct {
		name     string
		n, there int
		want     error
	}{
		{"empty", 0, 0, nil},
		{"longest", 1024, 1024, nil},
		{"longest and padding", 1024, 1400, nil},
		{"too long", 1025, 1400, ErrArgument},
		{"too long and not there", 0xffff, 10, ErrArgument},
		{"a byte is missing", 1024, 1023, ErrShort},
		{"not there", 1, 0, ErrShort},
	} {
		c, err := ParseConfig(arg(row.n, row.there))
		if err != row.want || err == nil && len(c.String) != row.n || err != nil && c.String != nil {
			t.Errorf("%s: got %d bytes, %v, want %v", row.name, len(c.String), err, row.want)
		}
	}

	longest := Config{String: bytes.Repeat([]byte("x"), MaxConfigString)}
	if got := len(longest.Append(nil)); got != configLen+MaxConfigString {
		t.Errorf("the longest string makes an argument of %d bytes", got)
	}
	if !panics(func() { Config{String: make([]byte, MaxConfigString+1)}.Append(nil) }) {
		t.Error("a string that is too long is encoded")
	}
}

// TestStringCannotGrowIntoItsFrame: what is appended to a parsed string does not
// overwrite what is behind it in the frame.
func TestStringCannotGrowIntoItsFrame(t *testing.T) {
	b := append(Config{String: []byte("rack")}.Append(nil), "padding"...)
	c, err := ParseConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	if _ = append(c.String, " 7"...); !strings.HasSuffix(string(b), "padding") {
		t.Errorf("the frame has become %q", b)
	}
}

func TestMaxSectorsPerFrame(t *testing.T) {
	for count, want := range map[uint8]int{0: 2, 1: 1, 2: 2, 17: 17, 255: 255} {
		if got := (Config{SectorCount: count}).MaxSectorsPerFrame(); got != want {
			t.Errorf("sector count %d: %d, want %d", count, got, want)
		}
	}
}
