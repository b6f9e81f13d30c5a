// Package rundir is where attached disks are listed on a machine: a directory,
// /run/aoe, with one control socket for each, named after the disk's address.
//
// # Usage
//
// The process that attaches a disk calls [Listen] before it does anything else,
// which also claims the address: a second process that wants to attach the same
// disk gets [ErrAttached]. It serves [Handler] until Server.Close. Other
// processes find it with [Dir.List] and [Dir.Find], and talk to it with
// [Dir.Status] and [Dir.Detach].
//
// # Protocol
//
// One connection carries one request and one reply, each a JSON object on a
// line. The socket has mode 0600: who may open it may detach the disk.
//
// # Crashes
//
// The claim is a lock on a file (flock(2)), so it ends with the process that
// holds it, however that ends. A socket that is left behind is not listed, and
// is replaced by the next Listen for its address.
package rundir
