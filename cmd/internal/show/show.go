// Package show prints what the commands have to tell: sizes and times in the
// units of the field, columns that line up, and JSON for programs.
package show

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Gigabytes formats a size in bytes the way aoe-stat(8) does: billions of
// bytes, three decimals, cut and not rounded.
func Gigabytes(sizeBytes int64) string {
	return fmt.Sprintf("%d.%03dGB", sizeBytes/1e9, sizeBytes%1e9/1e6)
}

// Bytes formats a size with the largest binary unit that leaves at least one:
// 4096 is "4K", 1536 is "1.5K".
func Bytes(n int64) string {
	const units = "KMGTPE"
	v, unit := float64(n), ""
	for i := 0; math.Abs(v) >= 1024 && i < len(units); i++ {
		v, unit = v/1024, units[i:i+1]
	}
	s := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + unit
}

// ParseBytes reads a size: a number, perhaps followed by K, M, G or T, which
// are powers of 1024, and perhaps by "iB" or "B".
func ParseBytes(s string) (int64, error) {
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	shift := 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGT", number[n-1]); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size: want a number of bytes, or one with K, M, G or T, as in 64M", s)
	}
	return v << shift, nil
}

// Duration formats d with three significant figures: 1.23ms, 45.6µs.
func Duration(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d < unit {
			continue
		}
		switch {
		case d >= 100*unit:
			return d.Round(unit).String()
		case d >= 10*unit:
			return d.Round(unit / 10).String()
		default:
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

// Count formats n with a thin grouping of thousands: 1 234 567.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// JSON writes v to w, indented, with a newline behind it.
func JSON[T any](w io.Writer, v T) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// A Table is rows of cells. A column whose header begins with '>' is aligned to
// the right; the sign is not printed.
type Table struct {
	header []string
	right  []bool
	rows   [][]string
}

// NewTable makes a table with the given headers. When all are empty (but for
// alignment) no header is printed.
func NewTable(header ...string) *Table {
	t := &Table{}
	for _, h := range header {
		name, right := strings.CutPrefix(h, ">")
		t.header = append(t.header, name)
		t.right = append(t.right, right)
	}
	return t
}

// Row adds a row. Cells beyond the header's are an error of the caller's.
func (t *Table) Row(cells ...string) {
	if len(cells) > len(t.header) {
		panic("show: row longer than the header")
	}
	t.rows = append(t.rows, cells)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Print writes the table with two spaces between columns and none at the end of
// a line.
func (t *Table) Print(w io.Writer) error {
	rows := t.rows
	if strings.Join(t.header, "") != "" {
		rows = append([][]string{t.header}, rows...)
	}
	width := make([]int, len(t.header))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				line += pad + cell + "  "
			} else {
				line += cell + pad + "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the table as GitHub does.
func (t *Table) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| " + strings.Join(t.header, " | ") + " |\n|")
	for _, right := range t.right {
		if right {
			b.WriteString("---:|")
		} else {
			b.WriteString("---|")
		}
	}
	b.WriteByte('\n')
	for _, row := range t.rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
