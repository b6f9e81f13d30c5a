package serving

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What systemd is told; see sd_notify(3). Without systemd nobody is.
const (
	ready    = daemon.SdNotifyReady
	stopping = daemon.SdNotifyStopping
)

// reloading is what a reload begins with: "RELOADING=1 ... must be combined with
// MONOTONIC_USEC=".
func reloading() []string {
	return []string{daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()}
}

// status is the line that systemctl status shows.
func (s *service) status() string {
	st := s.server.Stats()
	failed := ""
	for _, d := range st.Disks {
		if d.Failed != "" {
			failed = "; a sync of " + d.Addr.String() + " has failed"
		}
	}
	return fmt.Sprintf("STATUS=serving %d disks on %d interfaces%s", len(st.Disks), len(st.Links), failed)
}

func (s *service) notify(words ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(words, "\n")); err != nil {
		s.log.Warn("systemd is not told", "error", err.Error())
	}
}

// feedWatchdog tells systemd, if it wants to know, that the locks of all disks
// and links can still be had: twice in the time that it waits.
func (s *service) feedWatchdog(ctx context.Context) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("no watchdog", "error", err.Error())
	}
	if err != nil || limit == 0 {
		return
	}
	t := time.NewTicker(limit / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.notify(daemon.SdNotifyWatchdog, s.status())
		}
	}
}
