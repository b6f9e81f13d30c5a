package raw

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// forThisHost drops frames for others. A packet socket receives what the
// hardware passes, and veth passes everything. Frames of a VLAN that this host
// is not part of are marked as another's too, after their tag was taken off: to
// the socket they look like ours (H10).
func forThisHost() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}
