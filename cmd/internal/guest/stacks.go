package guest

import (
	"slices"
	"strings"
)

// A task is a thread of the guest's with what it is doing, as SysRq w and t print
// it.
type task struct {
	name  string
	pid   string
	state string   // "D": waits and cannot be interrupted; "S" waits; "R" runs
	stack []string // function names, the innermost first
}

// stamp cuts the time off a line of the kernel's log: "[   12.345678] text".
func stamp(line string) (text string, ok bool) {
	if !strings.HasPrefix(line, "[") {
		return "", false
	}
	_, text, ok = strings.Cut(line, "] ")
	return text, ok
}

// parseTasks finds the tasks in a log, each once, as printed last. Lines of other
// origin may stand between theirs.
func parseTasks(log string) []task {
	byPID := map[string]int{}
	var tasks []task
	current := -1
	inTrace := false
	for line := range strings.Lines(log) {
		text, ok := stamp(strings.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		if t, ok := parseTaskHead(text); ok {
			if i, seen := byPID[t.pid]; seen {
				tasks[i], current = t, i
			} else {
				byPID[t.pid], current = len(tasks), len(tasks)
				tasks = append(tasks, t)
			}
			inTrace = false
			continue
		}
		switch body := strings.TrimSpace(text); {
		case current < 0:
		case body == "Call Trace:":
			inTrace = true
		case body == "</TASK>":
			current, inTrace = -1, false
		case inTrace && strings.HasPrefix(text, " "):
			if name := functionName(body); name != "" {
				tasks[current].stack = append(tasks[current].stack, name)
			}
		}
	}
	return tasks
}

// parseTaskHead reads "task:kswapd0  state:D stack:0  pid:38  tgid:38 ...".
func parseTaskHead(text string) (task, bool) {
	rest, ok := strings.CutPrefix(text, "task:")
	if !ok {
		return task{}, false
	}
	name, rest, ok := strings.Cut(rest, " state:")
	if !ok {
		return task{}, false
	}
	t := task{name: strings.TrimSpace(name)}
	t.state, rest, _ = strings.Cut(rest, " ")
	_, rest, _ = strings.Cut(rest, " pid:")
	t.pid, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	return t, t.pid != ""
}

// functionName is schedule of "schedule+0x27/0xf0" or of "schedule+0x27/0xf0 [aoe]".
// Entries with a question mark are what lay on the stack, not calls.
func functionName(body string) string {
	if strings.HasPrefix(body, "? ") {
		return ""
	}
	name, _, ok := strings.Cut(body, "+0x")
	if !ok || strings.ContainsRune(name, ' ') {
		return ""
	}
	return name
}

func (t task) in(functions ...string) bool {
	return slices.ContainsFunc(t.stack, func(f string) bool {
		// The compiler makes clones, alloc_pages.isra.0, and allocation profiling
		// wrappers, mempool_alloc_noprof.
		base, _, _ := strings.Cut(f, ".")
		base = strings.TrimSuffix(base, "_noprof")
		return slices.Contains(functions, base)
	})
}
