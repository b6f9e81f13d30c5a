package experiments

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// lineWidth is where paragraphs are broken.
const lineWidth = 100

// Print writes an experiment and what it found as text.
func Print(to io.Writer, e Experiment, r Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n", e.Name, e.Title)
	for _, part := range []struct{ name, text string }{
		{"Question", e.Question}, {"Setup", e.Setup}, {"Hypothesis", e.Hypothesis}, {"Criterion", e.Criterion},
	} {
		wrap(&b, part.name+": "+part.text, "            ")
	}
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "\n%s\n\n", t.Title)
		t.print(&b)
	}
	for _, s := range r.Stories {
		fmt.Fprintf(&b, "\n%s", s)
	}
	fmt.Fprintf(&b, "\nVerdict: the hypothesis %s.\n", r.Verdict)
	for _, d := range r.Differs {
		wrap(&b, "  differs: "+d, "           ")
	}
	for _, f := range r.Finding {
		b.WriteByte('\n')
		wrap(&b, f, "")
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// wrap breaks a paragraph into lines, of which all but the first are indented.
func wrap(b *strings.Builder, text, indent string) {
	n := 0
	for i, word := range strings.Fields(text) {
		if width := utf8.RuneCountInString(word); i > 0 && n+1+width > lineWidth {
			b.WriteString("\n" + indent)
			n = len(indent)
		} else if i > 0 {
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += utf8.RuneCountInString(word)
	}
	b.WriteByte('\n')
}

// print writes the table in columns that line up: numbers to the right.
func (t Table) print(b *strings.Builder) {
	widths := make([]int, len(t.Columns))
	rows := append([][]string{t.Columns}, t.Rows...)
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.numeric(i) {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString("  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// numeric reports whether every cell of a column begins like a number.
func (t Table) numeric(i int) bool {
	for _, row := range t.Rows {
		if c := row[i]; c == "" || c[0] < '0' || c[0] > '9' {
			return false
		}
	}
	return true
}
