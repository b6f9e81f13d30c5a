//go:build !linux

package attach

// Only Linux has such devices.
func leftDevices(string, string) ([]string, error) { return nil, nil }

func endDevices(string, string) error { return nil }
