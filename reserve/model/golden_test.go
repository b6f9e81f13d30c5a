package model

import "testing"

// TestGoldenTable: the explorer finds, for every row of the design's table, the
// same number of states, of dead ones, and the same shortest way to die.
func TestGoldenTable(t *testing.T) {
	for _, row := range Golden() {
		t.Run(row.Policy.Title, func(t *testing.T) {
			v := World{Pages: GoldenPages, Policy: row.Policy}.Search()
			if v.States != row.States || v.Dead != row.Dead || Ways(v.Way) != row.Way {
				t.Errorf("%d states, %d dead, %q; want %d, %d, %q",
					v.States, v.Dead, Ways(v.Way), row.States, row.Dead, row.Way)
			}
		})
	}
}
