//go:build !linux

package raw

import "golang.org/x/net/bpf"

// forThisHost is nothing: other systems deliver what is addressed to the
// interface, as long as it is not made promiscuous.
func forThisHost() []bpf.Instruction { return nil }
