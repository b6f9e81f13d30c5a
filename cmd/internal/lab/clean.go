package lab

import (
	"context"
	"fmt"
	"io"
)

// A CleanConfig says where to look for what labs left that were killed.
type CleanConfig struct {
	// Dir is what Config.Dir of those labs was, and no other is looked for. If it
	// is empty, those are found, too, of which something is mounted or still runs,
	// wherever they are, and guests in /dev/shm.
	Dir string
	// DryRun looks and removes nothing.
	DryRun bool
}

// A Leftover is the directory of a lab, and what there is of the lab.
type Leftover struct {
	Dir string `json:"directory"`
	PID int    `json:"pid,omitempty"` // of the lab; 0 if it is not known
	// Living labs are left alone.
	Living  bool   `json:"living"`
	Removed []Item `json:"removed,omitempty"` // in a dry run: what would be
	Kept    []Item `json:"kept,omitempty"`
	// Why is the reason why something was kept.
	Why string `json:"why,omitempty"`
}

// An Item is a thing that a lab left.
type Item struct {
	What string `json:"what"` // "process", "mount", "loop device", "block device", "network namespace" or "directory"
	Name string `json:"name"`
}

// Clean removes what labs left that were killed, and returns what it found: the
// directories of labs that live, too. Whose a directory is, its lock says, which
// ends with the lab; whose a process is, the mark in its environment, or that it
// is in one of the lab's network namespaces and in the lab's process group. An
// error means that it could not look; what it could not remove is in Leftover.Kept.
func Clean(ctx context.Context, cfg CleanConfig) ([]Leftover, error) { return clean(ctx, cfg) }

// Print writes what was found for people to read.
func (l Leftover) Print(w io.Writer, dryRun bool) error {
	by := "by a lab that was killed"
	if l.PID != 0 {
		by = fmt.Sprintf("by process %d, which was killed", l.PID)
	}
	if l.Living {
		by = "of a lab that lives: left alone"
		if l.PID != 0 {
			by = fmt.Sprintf("of process %d, which lives: left alone", l.PID)
		}
		_, err := fmt.Fprintf(w, "%s, %s\n", l.Dir, by)
		return err
	}
	if _, err := fmt.Fprintf(w, "%s, left %s\n", l.Dir, by); err != nil {
		return err
	}
	removed := "removed"
	if dryRun {
		removed = "to remove"
	}
	for _, part := range []struct {
		how   string
		items []Item
	}{{removed, l.Removed}, {"KEPT", l.Kept}} {
		for _, i := range part.items {
			if _, err := fmt.Fprintf(w, "  %-9s  %s %s\n", part.how, i.What, i.Name); err != nil {
				return err
			}
		}
	}
	if l.Why == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "  because    %s\n", l.Why)
	return err
}
