package attach

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

func kernelWays() []Way {
	return []Way{
		ublkWay(),
		nbdKernelWay(),
		fuseWay(),
	}
}

func ublkWay() Way {
	w := Way{Name: "ublk", Gives: "a block device", Swap: "best"}
	if _, err := ublkFeatures(); err != nil {
		w.Reason = strings.TrimPrefix(err.Error(), "attach: ")
		return w
	}
	w.Available = true
	return w
}

func nbdKernelWay() Way {
	// Its sockets make the kernel drop AoE frames that it could only receive
	// into its emergency memory, unless AF_XDP takes them before: see
	// docs/RESERVE.md.
	w := Way{Name: "nbd-kernel", Gives: "a block device", Swap: "with --swap-safe"}
	if err := doNBD(func(*nbdControl) error { return nil }); err != nil {
		w.Reason = strings.TrimPrefix(err.Error(), "attach: ")
		return w
	}
	if !mayMount() {
		w.Reason = "needs CAP_SYS_ADMIN: run as root"
		return w
	}
	w.Available = true
	return w
}

func fuseWay() Way {
	w := Way{Name: "fuse", Gives: "a block device", Swap: "no: it can deadlock under memory pressure"}
	for _, need := range []struct{ device, module string }{{"/dev/fuse", "fuse"}, {"/dev/loop-control", "loop"}} {
		fd, err := unix.Open(need.device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			w.Reason = fmt.Sprintf("needs %s: run as root, and modprobe %s (%v)", need.device, need.module, err)
			return w
		}
		unix.Close(fd)
	}
	if !mayMount() {
		w.Reason = "needs CAP_SYS_ADMIN to mount: run as root"
		return w
	}
	w.Available = true
	return w
}

// mayMount reports whether this process has CAP_SYS_ADMIN in effect.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[unix.CAP_SYS_ADMIN/32].Effective&(1<<(unix.CAP_SYS_ADMIN%32)) != 0
}
