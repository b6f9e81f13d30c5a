package frame

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestAddrText(t *testing.T) {
	for _, row := range []struct {
		text string
		addr Addr
	}{
		{"e0.0", Addr{0, 0}},
		{"e1.2", Addr{1, 2}},
		{"e65534.254", Addr{65534, 254}},
		{"e7.*", Addr{7, AnySlot}},
		{"e*.7", Addr{AnyShelf, 7}},
		{"e*.*", Anywhere},
	} {
		got, err := ParseAddr(row.text)
		if err != nil || got != row.addr {
			t.Errorf("%s: got %v, %v", row.text, got, err)
		}
		if row.addr.String() != row.text {
			t.Errorf("%s is printed as %s", row.text, row.addr)
		}
	}
	if got, err := ParseAddr("e007.03"); err != nil || got != (Addr{7, 3}) {
		t.Errorf("leading zeros: %v, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing":                "",
		"no e":                   "1.2",
		"capital":                "E1.2",
		"only e":                 "e",
		"no slot":                "e1",
		"empty slot":             "e1.",
		"empty shelf":            "e.1",
		"three parts":            "e1.2.3",
		"the wildcard's number":  "e65535.0",
		"the wildcard's number ": "e0.255",
		"too large":              "e65536.0",
		"too large ":             "e0.256",
		"far too large":          "e99999999999999999999.0",
		"sign":                   "e+1.2",
		"negative":               "e1.-2",
		"hexadecimal":            "e0x1.2",
		"underscore":             "e1_0.2",
		"blank":                  "e1 .2",
		"blank behind":           "e1.2 ",
		"two stars":              "e**.2",
		"other digits":           "e١.2",
	} {
		got, err := ParseAddr(text)
		if !errors.Is(err, ErrAddr) || got != (Addr{}) {
			t.Errorf("%s: %q: got %v, %v", name, text, got, err)
			continue
		}
		if !strings.Contains(err.Error(), "frame: ") || !strings.Contains(err.Error(), "e1.2") {
			t.Errorf("%s: the error does not say what to write: %v", name, err)
		}
	}
}

func TestMACText(t *testing.T) {
	want := MAC{0x02, 0xab, 0, 0, 0xff, 0x01}
	for _, text := range []string{"02:ab:00:00:ff:01", "02-ab-00-00-ff-01", "02ab0000ff01", "02:AB:00:00:FF:01"} {
		if got, err := ParseMAC(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	if want.String() != "02:ab:00:00:ff:01" {
		t.Errorf("printed as %s", want)
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"short":                 "02:ab:00:00:ff:0",
		"long":                  "02:ab:00:00:ff:011",
		"EUI-64":                "02:ab:00:00:ff:01:02:03",
		"other separator":       "02.ab.00.00.ff.01",
		"separators differ":     "02:ab-00:00-ff:01",
		"separators elsewhere":  "02:ab0:0:0:0ff:01",
		"separators in a heap":  "02:::::ab0000ff01",
		"no digits":             "02:ab:00:00:ff:0g",
		"sign":                  "+2:ab:00:00:ff:01",
		"sign without colons":   "+2ab0000ff01",
		"blanks without colons": "02ab0000ff 1",
	} {
		if got, err := ParseMAC(text); err == nil || got != (MAC{}) {
			t.Errorf("%s: %q: got %v, %v", name, text, got, err)
		} else if !strings.HasPrefix(err.Error(), "frame: ") || !strings.Contains(err.Error(), "want 02:00:00:00:00:01") {
			t.Errorf("%s: the error does not say what to write: %v", name, err)
		}
	}
}

// TestJSON: addresses are readable where programs print them, map keys included.
func TestJSON(t *testing.T) {
	type report struct {
		Disk  Addr
		Peers map[MAC]Addr
	}
	want := report{Addr{7, 3}, map[MAC]Addr{macInitiator: Anywhere}}
	b, err := json.Marshal(want)
	if err != nil || string(b) != `{"Disk":"e7.3","Peers":{"02:00:00:00:00:02":"e*.*"}}` {
		t.Fatalf("got %s, %v", b, err)
	}
	var got report
	if err := json.Unmarshal(b, &got); err != nil || got.Disk != want.Disk || got.Peers[macInitiator] != Anywhere {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{`{"Disk":"7.3"}`, `{"Peers":{"02":"e1.1"}}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// TestWildcardsAreIndependent: shelf 7 and any slot is every disk of shelf 7.
func TestWildcardsAreIndependent(t *testing.T) {
	for _, row := range []struct {
		request, disk Addr
		covers, wild  bool
	}{
		{Addr{7, 3}, Addr{7, 3}, true, false},
		{Addr{7, 3}, Addr{7, 4}, false, false},
		{Addr{7, 3}, Addr{8, 3}, false, false},
		{Addr{7, AnySlot}, Addr{7, 4}, true, true},
		{Addr{7, AnySlot}, Addr{8, 4}, false, true},
		{Addr{AnyShelf, 3}, Addr{8, 3}, true, true},
		{Addr{AnyShelf, 3}, Addr{8, 4}, false, true},
		{Anywhere, Addr{8, 4}, true, true},
	} {
		if row.request.Covers(row.disk) != row.covers || row.request.IsWildcard() != row.wild {
			t.Errorf("%v for %v: covers %v, wildcard %v", row.request, row.disk, !row.covers, row.request.IsWildcard())
		}
	}
}

func TestLess(t *testing.T) {
	order := []Addr{{0, 0}, {0, 1}, {0, AnySlot}, {1, 0}, {1, 9}, {10, 0}, Anywhere}
	for i, a := range order {
		for j, b := range order {
			if a.Less(b) != (i < j) {
				t.Errorf("%v before %v: %v", a, b, a.Less(b))
			}
		}
	}
}

func TestIsMulticast(t *testing.T) {
	for text, want := range map[string]bool{
		"ff:ff:ff:ff:ff:ff": true, "01:00:5e:00:00:01": true, "33:33:00:00:00:01": true,
		"02:00:00:00:00:01": false, "00:00:00:00:00:00": false, "fe:ff:ff:ff:ff:ff": false,
	} {
		if m, err := ParseMAC(text); err != nil || m.IsMulticast() != want {
			t.Errorf("%s: %v, %v", text, m.IsMulticast(), err)
		}
	}
}
