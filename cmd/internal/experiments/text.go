package experiments

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"aoe/cmd/internal/show"
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
		if err := t.print(&b); err != nil {
			return err
		}
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
func (t Table) print(to io.Writer) error {
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		if t.numeric(i) {
			c = ">" + c
		}
		columns[i] = c
	}
	table := show.NewTable(columns...)
	for _, row := range t.Rows {
		table.Row(row...)
	}
	return table.Print(to)
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
