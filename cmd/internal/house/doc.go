// Package house holds the rules of the house that a program can check, as
// tests: who may import whom, where system calls may stand, how long a file and
// a function may be, and that every hazard of the protocol and every invariant
// of the reserve has a test named after it.
//
// A rule that is not checked here is only advice.
package house
