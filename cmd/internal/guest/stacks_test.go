package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func readLog(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseTasks(t *testing.T) {
	tasks := parseTasks(readLog(t, "receive.log"))
	want := []task{
		{"kworker/0:0", "9", "D", []string{
			"__schedule", "schedule", "mempool_alloc_noprof", "bio_alloc_bioset", "swap_writepage",
			"__alloc_pages_slowpath.constprop.0", "try_fill_recv", "refill_work",
		}},
		{"aoe", "191", "D", []string{"__schedule", "throttle_direct_reclaim", "__alloc_pages_slowpath.constprop.0", "exc_page_fault"}},
		{"init", "1", "S", []string{"__schedule", "do_wait"}},
		{"aoe", "192", "R", []string{"try_to_free_pages", "do_swap_page", "asm_exc_page_fault"}},
	}
	if !slices.EqualFunc(tasks, want, func(a, b task) bool {
		return a.name == b.name && a.pid == b.pid && a.state == b.state && slices.Equal(a.stack, b.stack)
	}) {
		t.Errorf("tasks are\n%v, want\n%v", tasks, want)
	}
}

// TestParseTasksAgain: who is asked about twice counts as last seen.
func TestParseTasksAgain(t *testing.T) {
	head := "[    1.0] task:x state:D stack:0 pid:5 tgid:5\n[    1.0] Call Trace:\n[    1.0]  <TASK>\n"
	tail := "[    1.0]  </TASK>\n"
	tasks := parseTasks(head + "[    1.0]  a+0x1/0x2\n" + tail + strings.Replace(head, "state:D", "state:S", 1) + "[    1.0]  b+0x1/0x2\n" + tail)
	if len(tasks) != 1 || tasks[0].state != "S" || !slices.Equal(tasks[0].stack, []string{"b"}) {
		t.Errorf("tasks are %v", tasks)
	}
}

// TestAThreadThatCannotBeMade is told before what only follows from it.
func TestAThreadThatCannotBeMade(t *testing.T) {
	tasks := []task{
		{"kswapd0", "44", "D", []string{"schedule", "mempool_alloc_noprof", "bio_alloc_bioset", "swap_writepage"}},
		{"aoe", "185", "R", []string{"shrink_slab", "try_to_free_pages", "__alloc_pages_slowpath", "copy_process", "kernel_clone"}},
	}
	why := conclude(tasks, frameCount{received: 10, sent: 4, flood: 4})
	if len(why) == 0 || !strings.Contains(why[0], "making a thread") {
		t.Errorf("concluded %q", why)
	}
	if got := explainTask(tasks[1]); got != "making a thread, waits for memory: it is looking for pages to free by itself" {
		t.Errorf("the task: %q", got)
	}
}

// TestParseTasksOfAnything: a log that was cut anywhere is read as far as it goes.
func TestParseTasksOfAnything(t *testing.T) {
	log := readLog(t, "receive.log")
	all := len(parseTasks(log))
	for i := range log {
		if n := len(parseTasks(log[:i])); n > all {
			t.Fatalf("%d tasks in the first %d bytes, %d in all", n, i, all)
		}
	}
}

func FuzzParseTasks(f *testing.F) {
	f.Add("[    1.0] task:x state:D stack:0 pid:5\n[    1.0] Call Trace:\n[    1.0]  a+0x1/0x2\n")
	f.Fuzz(func(t *testing.T, log string) {
		for _, task := range parseTasks(log) {
			if task.pid == "" || explainTask(task) == "" {
				t.Errorf("%+v has no process or no words", task)
			}
		}
	})
}
