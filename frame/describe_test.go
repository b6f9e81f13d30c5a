package frame

import (
	"strings"
	"testing"
	"unicode"

	"github.com/mdlayher/aoe"
)

// TestDescribe is about the frames that peers.said does not show.
func TestDescribe(t *testing.T) {
	byName := map[string][]byte{}
	for _, k := range kinds() {
		byName[k.name] = k.b
	}
	version2 := request(aoe.CommandIssueATACommand)
	version2.Version = 2
	const there, back = "02:00:00:00:00:02 > 02:00:00:00:00:01 e258.3 tag 0x8a0b0c0d ", "02:00:00:00:00:01 > 02:00:00:00:00:02 e258.3 tag 0x8a0b0c0d reply "
	for _, row := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "frame: shorter than its fields, length 0"},
		{"VLAN", append(make([]byte, 12), 0x81, 0, 0, 7), "frame: not AoE, length 16"},
		{"header only", version2.Append(nil), there + "version 2 ATA (frame: shorter than its fields), length 24"},
		{"cut config", byName["config reply"][:35], back + "config (frame: shorter than its fields), length 35"},
		{"cut mask", byName["mask request"][:40], there + "mask (frame: shorter than its fields), length 40"},
		{"mask request with an error, which means nothing", MaskDirective{aoe.DirectiveCommandAdd, macOther}.Append(Mask{aoe.MACMaskCommandEdit, 3, 1, nil}.Append(request(2).Append(nil))),
			there + "mask Edit Add 02:00:00:00:00:03, length 36"},
		{"cut reserve", byName["reserve request"][:30], there + "reserve (frame: shorter than its fields), length 30"},
		{"cut write", byName["write request"][:100], there + "WRITE SECTORS EXT lba 7 count 1 (frame: shorter than its fields), length 100"},
		{"ATA error", byName["ATA error reply"], back + "ATA status 0x41 DRDY ERR, error register 0x40, count 1, length 36"},
		{"AoE error", byName["AoE error reply"], back + "ATA, error 3 DeviceUnavailable, length 36"},
		{"all of status", ATA{Op: 0xff}.Append(response(0).Append(nil)), back + "ATA status 0xff BSY DRDY DF DRQ ERR, error register 0x00, count 0, length 36"},
		{"unknown opcode", NewATA(0x77, 1, 2).Append(request(0).Append(nil)), there + "ATA command 0x77 lba 1 count 2, length 36"},
		{"config that would steer a terminal", Config{Sub: aoe.ConfigCommandSet, String: []byte("\x1b[2J\n")}.Append(request(1).Append(nil)),
			there + `config Set "\x1b[2J\n", length 37`},
	} {
		if got := Describe(row.b); got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, row.want)
		}
	}
}

// checkLine fails unless s is one printable line.
func checkLine(t *testing.T, s string) {
	t.Helper()
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not one printable line: %q", s)
	}
}
