package sancheck

import (
	"os"
	"path/filepath"
	"strings"
)

// pciID is vendor and device of the hardware behind an interface, empty if there
// is none.
func pciID(name string) string {
	var parts []string
	for _, file := range []string{"vendor", "device"} {
		text, err := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(name), "device", file))
		if err != nil {
			return ""
		}
		parts = append(parts, strings.TrimPrefix(strings.TrimSpace(string(text)), "0x"))
	}
	return strings.Join(parts, ":")
}
