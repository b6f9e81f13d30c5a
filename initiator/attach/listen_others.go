//go:build !linux

package attach

import "net"

// listenConfig leaves the mode of the socket to the umask: put it in a
// directory of your own.
func listenConfig() net.ListenConfig { return net.ListenConfig{} }
