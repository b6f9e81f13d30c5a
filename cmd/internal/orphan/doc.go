// Package orphan finds and ends the processes that another one started and, being
// killed, could not end.
//
// # Usage
//
// Who starts processes on behalf of a directory of its own gives each of them
// [Mark] in its environment, which their children inherit. When the directory
// turns out to be a dead process's, [Find] lists who carries its mark, and [End]
// ends them.
//
// # Whose
//
// A process is known by its number and the time it began, because numbers are
// used again; it is signalled through a descriptor of it (pidfd_open(2)), so that
// no other can be hit. A mark counts only if the directory is the same file for
// the process that carries it as for us: in a container, the same name may be
// another lab's. This process and those above it are never listed.
//
// Linux only: elsewhere nothing is found.
package orphan
