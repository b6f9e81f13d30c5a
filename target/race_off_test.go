//go:build !race

package target

// RaceDetector is off.
const RaceDetector = false
