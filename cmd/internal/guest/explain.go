package guest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A reason says in words what a task waits for that is in one of the functions,
// and for whom.
type reason struct {
	functions []string
	words     string
}

const makingThread = "making a thread"

// doing is what a task was about when it had to wait; the first that fits. It is
// looked for in all of its calls.
var doing = []reason{
	{[]string{"kernel_clone", "copy_process"}, makingThread},
	{[]string{"packet_sendmsg", "packet_snd", "tpacket_snd", "__dev_queue_xmit", "sock_alloc_send_pskb"}, "sending a frame"},
	{[]string{"packet_recvmsg", "tpacket_rcv"}, "receiving a frame"},
	{[]string{"virtnet_receive", "try_fill_recv", "refill_work", "virtnet_poll"}, "giving the network card room to receive into"},
	{[]string{"swap_read_folio", "swap_readpage", "do_swap_page", "swapin_readahead", "read_swap_cache_async", "swap_cluster_readahead", "shmem_swapin_folio"}, "reading a page back from swap"},
	{[]string{"kswapd"}, "freeing memory"},
	{[]string{"exc_page_fault", "asm_exc_page_fault"}, "touching its own memory"},
	{[]string{"ublk_ch_uring_cmd", "ublk_queue_rq", "io_uring_enter", "__do_sys_io_uring_enter", "io_cqring_wait"}, "serving the disk (ublk)"},
	{[]string{"nbd_send_cmd", "nbd_handle_cmd", "sock_xmit", "recv_work"}, "talking to the disk's server (NBD)"},
	{[]string{"swap_writepage", "pageout", "swap_writeout"}, "writing a page to swap"},
	{[]string{"aoenet_xmit", "aoecmd_ata_rw", "ktio", "aoeblk_queue_rq", "tx"}, "carrying a request of the aoe driver"},
	{[]string{"balloc_dirty_pages", "balance_dirty_pages", "generic_perform_write"}, "writing to a file or device"},
}

// waits is what a task waits for; the first that fits. Innermost causes come
// first.
var waits = []reason{
	{[]string{"bio_alloc_bioset"}, "for a bio: all that there are belong to writes that are not answered"},
	{[]string{"mempool_alloc"}, "for an element of a memory pool"},
	{[]string{"folio_wait_writeback", "folio_wait_writeback_killable"}, "for a page to have been written out"},
	{[]string{"__folio_lock", "__folio_lock_or_retry", "folio_wait_bit_common", "folio_wait_bit", "migration_entry_wait"}, "for a page that is under way from or to swap"},
	{[]string{"reclaim_throttle", "throttle_direct_reclaim", "congestion_wait"}, "for reclaim to get on: it was told to slow down"},
	{[]string{"blk_mq_get_tag", "wbt_wait", "rq_qos_wait", "get_request"}, "for a free request of the disk's queue"},
	{[]string{"submit_bio_wait", "blk_execute_rq", "blk_wait_io"}, "for the disk to complete a request"},
	{[]string{"balance_dirty_pages"}, "for dirty pages to be written"},
	{[]string{"__alloc_pages_slowpath", "try_to_free_pages", "__alloc_pages_direct_reclaim"}, "for memory: it is looking for pages to free by itself"},
	{[]string{"sock_wait_for_wmem", "sock_alloc_send_pskb"}, "for room in its socket: what it sent before was not freed yet"},
	{[]string{"do_swap_page"}, "for a page to be read from swap"},
	{[]string{"rwsem_down_write_slowpath", "rwsem_down_read_slowpath", "down_read", "down_write"}, "for a lock that another task holds"},
	{[]string{"__mutex_lock", "mutex_lock"}, "for a mutex that another task holds"},
}

func find(t task, reasons []reason) string {
	for _, r := range reasons {
		if t.in(r.functions...) {
			return r.words
		}
	}
	return ""
}

// explainTask says in words what a task that is blocked is blocked at.
func explainTask(t task) string {
	what, why := find(t, doing), find(t, waits)
	if why == "" {
		why = "in " + strings.Join(t.stack[:min(len(t.stack), 4)], " < ")
	} else {
		why = "waits " + why
	}
	if what == "" {
		return why
	}
	return what + ", " + why
}

// blocked are the tasks that tell why a machine hangs: those that wait and cannot
// be interrupted, and those that look for memory in whatever state.
func blocked(tasks []task) []task {
	return slices.DeleteFunc(slices.Clone(tasks), func(t task) bool {
		return !strings.HasPrefix(t.state, "D") &&
			!t.in("__alloc_pages_slowpath", "try_to_free_pages", "do_swap_page", "__folio_lock_or_retry")
	})
}

// explain says what the log tells of a run that did not survive.
func (t *trial) explain(out *Output) []string {
	var why []string
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	log := string(out.Serial)
	tasks := parseTasks(log)
	if !t.asked.IsZero() {
		why = append(why, conclude(tasks, t.heldStill)...)
	}
	switch {
	case out.End == Panicked:
		add("the kernel panicked: %s", between(log, "Kernel panic - not syncing: ", "\n"))
	case t.how == "wrong":
		add("page %s is not what was written to it", t.page)
	case t.oomKilled != "":
		add("the kernel killed %s for want of memory", t.oomKilled)
	}
	if n := strings.Count(log, "I/O error, dev "); n > 0 {
		add("%d requests to disks failed, the first of them to %s", n, between(log, "I/O error, dev ", " flags"))
	}
	for line := range strings.Lines(log) {
		if said, ok := Said(strings.TrimSpace(line)); ok && strings.HasPrefix(said, "failed: ") {
			add("the script could not go on: %s", said[len("failed: "):])
		}
	}
	if !t.asked.IsZero() {
		h := t.heldStill
		add("nothing moved for %s; meanwhile the target received %d frames, %d of which were the flood's, and sent %d",
			t.recipe.Stall.Round(time.Second), h.received, h.flood, h.sent)
		if w, b := t.watched, t.before; w != b && b != (watchLine{}) {
			add("as last told by the guest: %d pages free, %d in write-back; between its last two tellings eth0 received %d frames, dropped %d and sent %d",
				w.free, w.writeback, w.rx-b.rx, w.rxDropped-b.rxDropped, w.tx-b.tx)
		}
	}
	if zone := lastZone(log); zone != "" {
		add("memory when asked: %s", zone)
	}
	why = append(why, explainFailures(log)...)
	return append(why, explainTasks(tasks)...)
}

// conclude says which frame or allocation it is that everything else waits for,
// where that is plain.
func conclude(tasks []task, h frameCount) (why []string) {
	asked := h.received > h.flood
	refilling := slices.ContainsFunc(blocked(tasks), func(t task) bool { return t.in("refill_work", "try_fill_recv") })
	sending := slices.ContainsFunc(blocked(tasks), func(t task) bool {
		return find(t, doing) == "sending a frame"
	})
	making := slices.ContainsFunc(blocked(tasks), func(t task) bool {
		return t.name == "aoe" && find(t, doing) == makingThread
	})
	switch {
	case making:
		// The Go runtime counts on a thread that it has begun to make.
		why = append(why, "what stalls is the initiator: it is making a thread, and there is no memory for the thread's stack")
	case refilling && asked:
		why = append(why, "what stalls is receiving: requests go out and are answered, but the network card has no room for the answers, "+
			"and who gives it room waits for memory that only those answers would free")
	case refilling:
		why = append(why, "what stalls is receiving: the network card has no room for a frame, and who gives it room waits for memory")
	case sending:
		why = append(why, "what stalls is sending: there is no memory for a request to go out in")
	case asked && h.sent > 0:
		why = append(why, "requests go out and are answered, but no answer is made use of")
	case asked:
		why = append(why, "requests go out, but the target does not answer")
	default:
		why = append(why, "no request goes out any more")
	}
	return why
}

// explainTasks says where the blocked tasks are, alike ones in one line.
func explainTasks(tasks []task) []string {
	type group struct {
		names []string
		words string
	}
	var groups []group
	for _, t := range blocked(tasks) {
		words := explainTask(t)
		name := t.name + "/" + t.pid
		if i := slices.IndexFunc(groups, func(g group) bool { return g.words == words }); i >= 0 {
			groups[i].names = append(groups[i].names, name)
			continue
		}
		groups = append(groups, group{[]string{name}, words})
	}
	var why []string
	for _, g := range groups {
		why = append(why, strings.Join(g.names, ", ")+": "+g.words)
	}
	return why
}

// allocationFailure is "swapper/0: page allocation failure: order:0, mode:0x40820(GFP_ATOMIC|__GFP_COMP), ...".
var allocationFailure = regexp.MustCompile(`\] (.+): page allocation failure: order:(\d+), mode:0x[0-9a-f]+\(([^)]*)\)`)

// explainFailures counts the allocations that the kernel complained of.
func explainFailures(log string) []string {
	counts := map[string]int{}
	var order []string
	for _, m := range allocationFailure.FindAllStringSubmatch(log, -1) {
		words := fmt.Sprintf("an allocation of order %s with %s failed in %s", m[2], m[3], m[1])
		if counts[words] == 0 {
			order = append(order, words)
		}
		counts[words]++
	}
	for i, words := range order {
		order[i] = fmt.Sprintf("%s (reported %d times)", words, counts[words])
	}
	return order
}

// zone is "Node 0 DMA32 free:1132kB boost:0kB min:824kB low:1028kB ...".
var zone = regexp.MustCompile(`Node \d+ (DMA|DMA32|Normal) free:(\d+)kB boost:\d+kB min:(\d+)kB low:(\d+)kB`)

// lastZone is how much memory each zone had when the kernel was asked last.
func lastZone(log string) string {
	const asked = "sysrq: Show Memory"
	at := strings.LastIndex(log, asked)
	if at < 0 {
		return ""
	}
	// With all tasks it is told once more.
	answer, _, _ := strings.Cut(log[at+len(asked):], "sysrq: ")
	var parts []string
	for _, m := range zone.FindAllStringSubmatch(answer, -1) {
		parts = append(parts, fmt.Sprintf("%s has %s kB free (minimum %s, low mark %s)", m[1], m[2], m[3], m[4]))
	}
	return strings.Join(parts, ", ")
}

// between is what stands in s between a and b.
func between(s, a, b string) string {
	_, rest, _ := strings.Cut(s, a)
	text, _, _ := strings.Cut(rest, b)
	return strings.TrimSpace(text)
}
