package inside

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// watched are the counters that the watcher tells, by their place: the file, what
// the line begins with (nothing if the file is a number), and how to call it.
var watched = []struct{ path, line, key string }{
	{"/proc/vmstat", "pswpin ", "in"},
	{"/proc/vmstat", "pswpout ", "out"},
	{"/proc/vmstat", "nr_free_pages ", "free"},
	{"/proc/vmstat", "nr_writeback ", "writeback"},
	{"/proc/vmstat", "allocstall_movable ", "stalls"},
	{"/sys/class/net/eth0/statistics/rx_packets", "", "rx"},
	{"/sys/class/net/eth0/statistics/rx_dropped", "", "rx_dropped"},
	{"/sys/class/net/eth0/statistics/tx_packets", "", "tx"},
}

// Watch tells the kernel's counters at once, and then every interval until ctx is
// done. An interval of zero means once.
func Watch(ctx context.Context, interval time.Duration) error {
	k, err := openKmsg()
	if err != nil {
		return err
	}
	files := map[string]int{}
	for _, w := range watched {
		if _, ok := files[w.path]; ok {
			continue
		}
		if files[w.path], err = unix.Open(w.path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("inside: open %s: %w", w.path, err)
		}
	}
	text, err := lockedBytes(1 << 16)
	if err != nil {
		return err
	}
	// What was touched so far and will be: it must tell of a machine that has no
	// memory left.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("inside: lock the watcher: %w", err)
	}
	var tick <-chan time.Time
	if interval > 0 {
		t := time.NewTicker(interval)
		defer t.Stop()
		tick = t.C
	}
	for {
		k.begin("watch")
		for _, w := range watched {
			n, err := unix.Pread(files[w.path], text, 0)
			if err != nil {
				return fmt.Errorf("inside: read %s: %w", w.path, err)
			}
			v, err := counter(text[:n], w.line)
			if err != nil {
				return fmt.Errorf("inside: %s: %w", w.path, err)
			}
			k.number(w.key, v)
		}
		if err := k.end(); err != nil {
			return err
		}
		if tick == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}
