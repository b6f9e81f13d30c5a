//go:build race

package linktest

// raceEnabled is whether the race detector is built in, which allocates.
const raceEnabled = true
