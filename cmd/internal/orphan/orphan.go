package orphan

import "fmt"

// variable is what a mark is called in the environment.
const variable = "AOE_LAB"

// Mark is the environment variable that says for which directory a process was
// started.
func Mark(dir string) string { return variable + "=" + dir }

// A Process is one that runs, and no other that gets its number later.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after the machine began
	Name  string `json:"name"`
	// Group is its process group.
	Group int `json:"group"`
}

// String names the process for people.
func (p Process) String() string { return fmt.Sprintf("%d (%s)", p.PID, p.Name) }
