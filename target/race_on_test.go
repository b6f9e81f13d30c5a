//go:build race

package target

// RaceDetector is on: the compiler then makes append(b, make([]byte, n)...), with
// which frame.Pad clears, allocate.
const RaceDetector = true
