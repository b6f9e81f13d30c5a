// Package manual makes manual pages of commands, from what their help is made of.
//
// The long help is taken as it is written: a line in capitals is a section, lines
// that begin with two spaces and have two columns are a list, others with two
// spaces stand as they are, and text in backquotes is bold.
package manual

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Section of the manual: commands for who administers a machine.
const Section = "8"

// Pages are the commands that have a page, root first.
func Pages(root *cobra.Command) []*cobra.Command {
	if root.Hidden || root.Name() == "help" || root.Name() == "completion" {
		return nil
	}
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		all = append(all, Pages(c)...)
	}
	return all
}

// Name of a page: aoe-lab-guest.
func Name(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// WriteAll writes a page of every command to dir, and returns their paths.
func WriteAll(root *cobra.Command, dir, version string) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, c := range Pages(root) {
		var b strings.Builder
		if err := Write(&b, c, version); err != nil {
			return paths, err
		}
		path := filepath.Join(dir, Name(c)+"."+Section)
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Write writes the page of a command, in the macros of man(7).
func Write(w io.Writer, c *cobra.Command, version string) error {
	p := &page{}
	p.linef(`.TH %s %s "" "aoe %s" "ATA over Ethernet"`, strings.ToUpper(Name(c)), Section, version)
	p.section("NAME")
	p.text(Name(c) + " - " + strings.ToLower(c.Short[:1]) + c.Short[1:])
	p.section("SYNOPSIS")
	p.linef(".B %s", escape(strings.TrimSuffix(c.UseLine(), " [flags]")))
	if c.HasAvailableFlags() {
		p.linef(".RI [ options ]")
	}
	p.section("DESCRIPTION")
	// The exit status belongs behind the options.
	description, rest, _ := strings.Cut(c.Long, "\nEXIT STATUS\n")
	p.long(description)
	p.options(c)
	if rest != "" {
		p.long("EXIT STATUS\n" + rest)
	}
	if c.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(strings.Split(c.Example, "\n"))
	}
	p.seeAlso(c)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// A page is being written.
type page struct{ b strings.Builder }

func (p *page) linef(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func (p *page) section(name string) { p.linef(".SH %s", name) }

var backquoted = regexp.MustCompile("`([^`]*)`")

// escape makes s stand for itself.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return backquoted.ReplaceAllString(s, `\fB$1\fR`)
}

func (p *page) text(s string) { p.linef("%s", escape(s)) }

func (p *page) verbatim(lines []string) {
	p.linef(".nf")
	for _, line := range lines {
		p.text(strings.TrimPrefix(line, "  "))
	}
	p.linef(".fi")
}

var (
	heading = regexp.MustCompile(`^[A-Z][A-Z ]+$`)
	// columns are a term and what is said of it, which may go on below.
	columns = regexp.MustCompile(`^  (\S+(?: \S+)*)  +(\S.*)$`)
)

// long writes the long help.
func (p *page) long(s string) {
	lines := strings.Split(s, "\n")
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case line == "":
			if i+1 < len(lines) && !heading.MatchString(lines[i+1]) {
				p.linef(".PP")
			}
		case heading.MatchString(line):
			p.section(line)
		case strings.HasPrefix(line, "  "):
			n := i
			for n < len(lines) && strings.HasPrefix(lines[n], "  ") {
				n++
			}
			p.indented(lines[i:n])
			i = n - 1
		default:
			p.text(line)
		}
	}
}

// indented writes lines that begin with two spaces: a list, if the first is an
// entry of one.
func (p *page) indented(lines []string) {
	if !columns.MatchString(lines[0]) {
		p.linef(".RS 2")
		p.verbatim(lines)
		p.linef(".RE")
		return
	}
	for _, line := range lines {
		m := columns.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "    "): // goes on with the entry
			p.text(strings.TrimSpace(line))
		case m != nil:
			p.linef(".TP\n.B %s", escape(m[1]))
			p.text(m[2])
		default: // a remark on all of them
			p.linef(".PP")
			p.text(strings.TrimSpace(line))
		}
	}
	p.linef(".PP")
}

func (p *page) options(c *cobra.Command) {
	if !c.HasAvailableFlags() {
		return
	}
	p.section("OPTIONS")
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := `\fB\-\-` + escape(f.Name) + `\fR`
		if f.Shorthand != "" {
			name = `\fB\-` + f.Shorthand + `\fR, ` + name
		}
		if value != "" {
			name += ` \fI` + escape(value) + `\fR`
		}
		if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "[]" && d != "0s" && !strings.Contains(usage, "(default") {
			usage += " (default " + d + ")"
		}
		p.linef(".TP\n%s", name)
		p.text(usage)
	})
}

// seeAlso names the pages around.
func (p *page) seeAlso(c *cobra.Command) {
	around := Pages(c)[1:]
	if c.HasParent() {
		for _, s := range Pages(c.Parent()) {
			if s == c.Parent() || s.Parent() == c.Parent() && s != c {
				around = append(around, s)
			}
		}
	}
	var refs []string
	for _, s := range around {
		refs = append(refs, `\fB`+escape(Name(s))+`\fR(`+Section+`)`)
	}
	if len(refs) > 0 {
		p.section("SEE ALSO")
		p.linef("%s", strings.Join(refs, ",\n"))
	}
}
