//go:build !unix || solaris || aix

package rundir

import (
	"errors"
	"os"
)

func lockFile(*os.File) error {
	return errors.New("attaching disks needs flock(2), which this system does not have")
}
