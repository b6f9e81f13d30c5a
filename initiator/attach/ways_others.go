//go:build !linux

package attach

func kernelWays() []Way {
	return []Way{{Name: "fuse", Gives: "a block device", Reason: errNoLoop.Error(), Swap: "no"}}
}
