package conf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"aoe/frame"
)

// maxFileBytes is far more than 65535 shelves need.
const maxFileBytes = 64 << 20

// A File is what a configuration file says.
type File struct {
	Interfaces []string
	Disks      []Disk
}

// Read reads the file at path. All mistakes are told at once, each with the line
// that it is on.
func Read(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("conf: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return File{}, fmt.Errorf("conf: %w", err)
	}
	if len(text) > maxFileBytes {
		return File{}, fmt.Errorf("conf: %s is longer than %d bytes: is it the right file?", path, maxFileBytes)
	}
	return Parse(string(text), path)
}

// Parse reads text, which is that of the file at path.
func Parse(text, path string) (File, error) {
	p := parser{dir: filepath.Dir(path), disks: map[frame.Addr]int{}, interfaces: map[string]int{}}
	for line := range strings.Lines(text) {
		p.line++
		if err := p.read(line); err != nil {
			p.errs = append(p.errs, fmt.Errorf("%s:%d: %w", path, p.line, err))
		}
	}
	if len(p.errs) == 0 && len(p.file.Interfaces) == 0 && len(p.file.Disks) == 0 {
		p.errs = append(p.errs, fmt.Errorf("%s: neither an interface nor a disk: was it cut off?", path))
	}
	return p.file, errors.Join(p.errs...)
}

type parser struct {
	dir      string
	line     int
	defaults []string // options, in the order in which they are to be read
	file     File
	errs     []error

	// where each was named first
	disks      map[frame.Addr]int
	interfaces map[string]int
}

func (p *parser) read(line string) error {
	words, err := split(line)
	if err != nil || len(words) == 0 {
		return err
	}
	switch words[0] {
	case "interface":
		return p.readInterfaces(words[1:])
	case "default":
		return p.readDefaults(words[1:])
	case "disk":
		return p.readDisk(words[1:])
	}
	return fmt.Errorf("%q: a line begins with interface, default or disk", words[0])
}

func (p *parser) readInterfaces(names []string) error {
	if len(names) == 0 {
		return errors.New("no interface named: want: interface eth1")
	}
	for _, name := range names {
		if first, ok := p.interfaces[name]; ok {
			return fmt.Errorf("%s is on line %d already", name, first)
		}
		p.interfaces[name] = p.line
		p.file.Interfaces = append(p.file.Interfaces, name)
	}
	return nil
}

func (p *parser) readDefaults(words []string) error {
	var scratch Disk
	for _, w := range words {
		if name, _, _ := strings.Cut(w, "="); ofOneDisk[name] {
			return fmt.Errorf("%s is for one disk, not a default for all", name)
		}
		if err := scratch.option(w); err != nil {
			return err
		}
	}
	p.defaults = append(p.defaults, words...)
	return nil
}

func (p *parser) readDisk(words []string) error {
	d, err := parseDisk(p.defaults, words)
	if err != nil {
		return err
	}
	if first, ok := p.disks[d.Addr]; ok {
		return fmt.Errorf("%s is on line %d already: a disk has an address of its own", d.Addr, first)
	}
	p.disks[d.Addr] = p.line
	d.from(p.dir)
	d.line = p.line
	p.file.Disks = append(p.file.Disks, d)
	return nil
}

// split cuts a line into words.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quoted := false, false
	end := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	line = strings.TrimRight(line, "\r\n")
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\':
			if i++; i == len(line) {
				return nil, errors.New(`a \ at the end of the line: a line cannot go on in the next one`)
			}
			word.WriteByte(line[i])
			inWord = true
		case c == '"':
			quoted, inWord = !quoted, true
		case quoted:
			word.WriteByte(c)
		case c == ' ' || c == '\t':
			end()
		case c == '#' && !inWord:
			return words, nil
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted {
		return nil, errors.New(`a quoted word without an end: add the second "`)
	}
	end()
	return words, nil
}
