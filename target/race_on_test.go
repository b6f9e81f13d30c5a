//go:build race

package target

// raceDetector is on: the compiler then makes append(b, make([]byte, n)...), with
// which frame.Pad clears, allocate.
const raceDetector = true
