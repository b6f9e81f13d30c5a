// Package initiatortest is a small AoE target with a disk in memory, for tests
// of the initiator and of what stands on it. It is no real target: it serves
// one disk, one frame at a time, and misbehaves on request.
//
// [Target.Answer] is pure: a request in, the replies out, no goroutine and no
// clock, for simulations. [Start] serves a link until the test ends.
package initiatortest
