package show

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

func TestSizesAndTimes(t *testing.T) {
	for _, row := range []struct{ name, got, want string }{
		{"aoe-stat's gigabytes", Gigabytes(1 << 30), "1.073GB"},
		{"cut, not rounded", Gigabytes(1_999_999_999), "1.999GB"},
		{"small", Gigabytes(64 << 20), "0.067GB"},
		{"no unit", Bytes(512), "512"},
		{"whole", Bytes(4096), "4K"},
		{"half", Bytes(1536), "1.5K"},
		{"large", Bytes(3 << 40), "3T"},
		{"largest", Bytes(math.MaxInt64), "8E"},
		{"microseconds", Duration(45_612 * time.Nanosecond), "45.6µs"},
		{"milliseconds", Duration(1_234_567 * time.Nanosecond), "1.23ms"},
		{"seconds", Duration(123_456 * time.Millisecond), "2m3s"},
		{"nanoseconds", Duration(17), "17ns"},
		{"zero", Duration(0), "0s"},
		{"thousands", Count(1234567), "1 234 567"},
		{"hundreds", Count(123), "123"},
	} {
		if row.got != row.want {
			t.Errorf("%s: %q, want %q", row.name, row.got, row.want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for _, row := range []struct {
		in   string
		want int64
	}{
		{"0", 0}, {"512", 512}, {"4k", 4096}, {"4K", 4096}, {"4KiB", 4096}, {"64M", 64 << 20},
		{"64MB", 64 << 20}, {"10G", 10 << 30}, {"2T", 2 << 40}, {"8388607T", 8388607 << 40},
	} {
		if got, err := ParseBytes(row.in); err != nil || got != row.want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", row.in, got, err, row.want)
		}
	}
	for _, bad := range []string{"", "K", "-1", "1.5G", "4X", "8388608T", "9223372036854775808", "1 K"} {
		if got, err := ParseBytes(bad); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", bad, got)
		}
	}
}

func TestTableLinesUp(t *testing.T) {
	table := NewTable("disk", ">size", "state")
	table.Row("e1.1", "1.073GB", "up")
	table.Row("e10.12", "12.000GB", "")
	var b bytes.Buffer
	if err := table.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := "disk        size  state\n" +
		"e1.1     1.073GB  up\n" +
		"e10.12  12.000GB\n"
	if b.String() != want {
		t.Errorf("printed\n%s want\n%s", b.String(), want)
	}
	b.Reset()
	if err := table.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "| disk | size | state |\n|---|---:|---|\n| e1.1 | 1.073GB | up |\n") {
		t.Errorf("Markdown printed\n%s", b.String())
	}
}

func TestTableWithoutHeader(t *testing.T) {
	table := NewTable("", ">")
	table.Row("µs", "1")
	table.Row("s", "20")
	var b bytes.Buffer
	if err := table.Print(&b); err != nil {
		t.Fatal(err)
	}
	if want := "µs   1\ns   20\n"; b.String() != want {
		t.Errorf("printed %q, want %q", b.String(), want)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, struct {
		A string `json:"a"`
	}{"<1>"}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"a\": \"<1>\"\n}\n"; b.String() != want {
		t.Errorf("printed %q, want %q", b.String(), want)
	}
}
