package conf

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"aoe/cmd/internal/show"
	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
)

// A Disk is what to serve, and as what. What is zero is as the server has it.
type Disk struct {
	Addr         frame.Addr       `json:"addr"`
	Path         string           `json:"path"` // of a file or device, or a URI
	Mode         target.Mode      `json:"mode"`
	ReadOnly     bool             `json:"readOnly,omitempty"`
	Snapshot     bool             `json:"snapshot,omitempty"`     // write to a layer that is gone with the process
	SnapshotFile string           `json:"snapshotFile,omitempty"` // write to this layer
	Offset       int64            `json:"offset,omitempty"`       // bytes
	Length       int64            `json:"length,omitempty"`       // bytes
	Serial       string           `json:"serial,omitempty"`
	Buffers      int              `json:"buffers,omitempty"`
	WireEdits    target.WireEdits `json:"wireEdits,omitzero"`
	Mask         []frame.MAC      `json:"mask,omitempty"`
	ConfigString string           `json:"configString,omitempty"`

	line int // of the file; 0 if it is not from one
}

// options are the words that may stand behind a disk's path, and how each is read.
// They are called like the flags of the command line that mean the same.
var options = map[string]func(d *Disk, value string) error{
	"mode":          func(d *Disk, v string) (err error) { d.Mode, err = target.ParseMode(v); return err },
	"read-only":     func(d *Disk, v string) (err error) { d.ReadOnly, err = yes(v); return err },
	"snapshot":      func(d *Disk, v string) (err error) { d.Snapshot, err = yes(v); return err },
	"snapshot-file": func(d *Disk, v string) error { d.SnapshotFile = v; return nil },
	"offset":        func(d *Disk, v string) (err error) { d.Offset, err = wholeSectors(v); return err },
	"length":        func(d *Disk, v string) (err error) { d.Length, err = wholeSectors(v); return err },
	"serial":        func(d *Disk, v string) error { d.Serial = v; return nil },
	"buffers":       func(d *Disk, v string) (err error) { d.Buffers, err = count(v); return err },
	"wire-edits":    func(d *Disk, v string) error { return d.WireEdits.UnmarshalText([]byte(v)) },
	"mask":          func(d *Disk, v string) (err error) { d.Mask, err = macs(v); return err },
	"config-string": func(d *Disk, v string) error { d.ConfigString = v; return nil },
}

// ofOneDisk are those that cannot be a default.
var ofOneDisk = map[string]bool{"serial": true, "config-string": true, "offset": true, "length": true, "snapshot-file": true}

// ParseDisk reads the words of a disk: address, path, options. A path that is not
// absolute begins at dir.
func ParseDisk(words []string, dir string) (Disk, error) {
	d, err := parseDisk(nil, words)
	if err != nil {
		return Disk{}, err
	}
	d.from(dir)
	return d, nil
}

// from has paths that are not absolute begin at dir.
func (d *Disk) from(dir string) {
	d.Path = absolute(dir, d.Path)
	if d.SnapshotFile != "" {
		d.SnapshotFile = absolute(dir, d.SnapshotFile)
	}
}

func parseDisk(defaults, words []string) (d Disk, err error) {
	if len(words) < 2 {
		return d, errors.New("want an address and a path, as in: disk e1.1 /srv/one.img")
	}
	if d.Addr, err = frame.ParseAddr(words[0]); err != nil {
		return d, err
	}
	if d.Addr.IsWildcard() {
		return d, fmt.Errorf("%s may be many disks: name one, as in e1.1", words[0])
	}
	if d.Path = words[1]; d.Path == "" {
		return d, errors.New("the path is empty")
	}
	for _, w := range slices.Concat(defaults, words[2:]) {
		if err := d.option(w); err != nil {
			return d, err
		}
	}
	return d, d.Validate()
}

// option reads one option.
func (d *Disk) option(word string) error {
	name, value, has := strings.Cut(word, "=")
	read := options[name]
	if read == nil {
		var names []string
		for n := range options {
			names = append(names, n)
		}
		slices.Sort(names)
		return fmt.Errorf("%q: there is no such option: want some of %s", word, strings.Join(names, ", "))
	}
	if !has && name != "read-only" && name != "snapshot" {
		return fmt.Errorf("%s without a value: want %s=VALUE", name, name)
	}
	if err := read(d, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Validate refuses what no server would serve, as far as can be told without
// opening anything.
func (d Disk) Validate() error { return d.Served(noStore{}).Validate() }

// noStore stands for the store that is not open yet, and could be any.
type noStore struct{ store.Store }

func (noStore) Info() store.Info { return store.Info{Direct: true} }

// Open opens what the disk is made of.
func (d Disk) Open() (store.Store, error) {
	return store.Open(store.Config{
		Path: d.Path, Offset: d.Offset, ReadOnly: d.ReadOnly,
		Direct: d.Mode == target.ModeDirect, Durable: d.Mode != target.ModeFlush,
		Snapshot: d.Snapshot, Changes: d.SnapshotFile,
	})
}

// Served is the disk on st, which Open has opened.
func (d Disk) Served(st store.Store) target.Disk {
	return target.Disk{
		Addr: d.Addr, Store: st, Mode: d.Mode, ReadOnly: d.ReadOnly, Serial: d.Serial,
		BufferCount: d.Buffers, Length: d.Length, WireEdits: d.WireEdits, Given: d.Given(),
	}
}

// Given is what can be edited of the disk.
func (d Disk) Given() target.Given {
	g := target.Given{Mask: d.Mask}
	if d.ConfigString != "" {
		g.ConfigString = []byte(d.ConfigString)
	}
	return g
}

// SameStore reports whether d becomes e without being served anew: by another
// length, mask, config string or permission to edit.
func (d Disk) SameStore(e Disk) bool {
	for _, x := range []*Disk{&d, &e} {
		x.Length, x.Mask, x.ConfigString, x.WireEdits, x.line = 0, nil, "", 0, 0
	}
	return reflect.DeepEqual(d, e)
}

// Same reports whether d and e say the same.
func (d Disk) Same(e Disk) bool {
	return d.SameStore(e) && d.Length == e.Length && slices.Equal(d.Mask, e.Mask) &&
		d.ConfigString == e.ConfigString && d.WireEdits == e.WireEdits
}

// absolute is path from dir, unless it is a URI.
func absolute(dir, path string) string {
	if store.IsURI(path) || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func yes(v string) (bool, error) {
	switch v {
	case "", "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("%q: want yes or no", v)
}

func wholeSectors(v string) (int64, error) {
	n, err := show.ParseBytes(v)
	if err == nil && n%frame.SectorSize != 0 {
		err = fmt.Errorf("%s is not a multiple of %d", v, frame.SectorSize)
	}
	return n, err
}

func count(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q: want a number from 1 up", v)
	}
	return n, nil
}

// macs reads MACs with commas between; none is everybody.
func macs(v string) (all []frame.MAC, err error) {
	if v == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(v, ",") {
		m, err := frame.ParseMAC(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(all, m) {
			return nil, fmt.Errorf("%s twice", m)
		}
		all = append(all, m)
	}
	return all, nil
}
