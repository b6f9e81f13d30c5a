//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "fair: needs Linux: network namespaces and AF_PACKET")
	os.Exit(1)
}
