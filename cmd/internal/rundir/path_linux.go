package rundir

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is what fits sun_path, "108 bytes" with the zero behind it
// (unix(7)).
const maxSocketPath = 107

// shorten calls f with a name of the socket at path that is short enough.
func shorten(path string, f func(path string) error) error {
	if len(path) <= maxSocketPath {
		return f(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
