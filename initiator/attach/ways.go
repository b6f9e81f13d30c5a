package attach

// A Way is a way to attach a disk.
type Way struct {
	// Name is what it is called on the command line.
	Name string
	// Gives is what one gets: "a block device" or "a unix socket".
	Gives string
	// Available tells that it works on this machine, for this user.
	Available bool
	// Reason says what is missing, and what to do about it. It is empty when
	// the way is available.
	Reason string
	// Swap says whether one may swap on what it gives.
	Swap string
}

// Ways are the ways to attach a disk, the best first, and which of them this
// machine can do. NBD on a unix socket works everywhere.
func Ways() []Way {
	return append(kernelWays(), Way{
		Name: "nbd", Gives: "a unix socket", Available: true,
		Swap: "not a device of this machine",
	})
}

// DefaultWay is the best way that gives a block device on this machine, or
// false.
func DefaultWay() (Way, bool) {
	for _, w := range Ways() {
		if w.Available && w.Name != "nbd" {
			return w, true
		}
	}
	return Way{}, false
}
