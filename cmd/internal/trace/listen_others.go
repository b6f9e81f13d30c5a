//go:build !linux

package trace

import (
	"context"
	"errors"

	"aoe/cmd/internal/pcap"
)

// Listen needs Linux.
func Listen(context.Context, string, func(), func(pcap.Frame) error) (missed uint64, err error) {
	return 0, errors.New("trace: capturing needs Linux: capture with tcpdump -w FILE ether proto 0x88a2, and read that with --read FILE")
}
