package main

import (
	"strings"

	"aoe/cmd/internal/show"
	"aoe/initiator/attach"
)

// attachHelp is the long help of attach.
func attachHelp() string {
	return `Attach the disk ADDRESS and print the device that shows it. The disk stays
attached until SIGINT (Ctrl-C) or SIGTERM, or until aoe detach; with --background
the command returns when the device is there.

` + waysHelp() + `
While the device is in use, mounted for instance, a signal or aoe detach is
refused, and says where it is used. When the target is silent for --deadsecs,
requests fail; when it answers again, the disk is up again. aoe stat shows the
state.

A disk that answers with another serial number than the one found at first is not
used (--serial says beforehand which it must be): requests wait for the right one.

With -i given more than once, every port of the target behind each interface is a
path to the disk. What is sent is spread over the paths by how long they take;
one that is silent for two timeouts while another answers is left out, what was
sent over it goes over the others, and it is used again when it has shown the
disk: serial number, size, and that the longest frames get through. Frames are as
long as all paths carry at the start; when no path carries them any more, they are
sent in parts. aoe stat -v shows the paths.

Two targets may have the same disk, with one store behind them. Only the one that
answered first is used, with all its ports; paths to the other stand by. Two at
once would undo writes: one that the first still has in hand, because it is slow,
is carried out after newer ones went to the other. The other is used when it takes
over the first one's MAC, and with --failover when the first has been silent for
so long. DANGER: with --failover the first target must be dead by then, powered
off or locked out of the storage, for sure. One that is only late, or cut off from
this machine, damages the disk when it goes on. Targets other than aoe serve do
not tell themselves apart, and are all used.

A device of ublk or nbd-kernel outlives the process that serves it: when that is
killed, requests wait in the kernel, and --takeover serves the same device
again. What was acknowledged is on the target, what was not is sent again. It
waits 1 s first, until no frame of the dead process can be on its way; with
nbd-kernel, what was under way then goes on within 10 s (that often the kernel
looks; its log says "Possible stuck request" when a target is silent so long). If
nothing was left, it attaches anew: say it wherever a supervisor restarts aoe.

` + swapSafeHelp + `

` + guardHelp + `

--plan prints the memory that would be reserved, line by line, and what that
guarantees, without attaching anything and without asking anybody.

EXIT STATUS
  0  detached; with --background: attached; with --plan: printed
  1  something failed
  2  the command line was not understood
  3  nobody answered
  4  attached already by another process`
}

const attachExamples = `  # A block device, until Ctrl-C
  aoe attach -i eth0 e1.1
  mkfs.ext4 /dev/loop0 && mount /dev/loop0 /mnt

  # The same from a script
  device=$(aoe attach -i eth0 --background e1.1)
  aoe detach e1.1

  # For qemu, fio, nbdcopy, libnbd; needs no FUSE
  aoe attach -i eth0 --via nbd --socket /run/e1.1.sock e1.1

  # To swap to
  aoe attach -i eth0 --swap-safe=strict --background e1.1

  # The same, and keep ssh from one address alive while memory is short
  aoe attach -i eth0 --swap-safe --guard-allow arp,tcp:22@10.0.0.1 e1.1

  # What would be reserved
  aoe attach -i eth0 --plan e1.1`

// waysHelp is the table of ways to attach, as this machine has them.
func waysHelp() string {
	var b strings.Builder
	t := show.NewTable("  --via", "gives", "here", "to swap on")
	for _, w := range attach.Ways() {
		here := "yes"
		if !w.Available {
			here = "no"
		}
		t.Row("  "+w.Name, w.Gives, here, w.Swap)
	}
	_ = t.Print(&b) // a strings.Builder takes everything
	return b.String()
}
