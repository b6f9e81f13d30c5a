// Package store is what a disk is made of: a regular file, a block device, or
// memory.
//
// # Usage
//
// [Open] opens a file or block device that exists, or what a URI names, the
// whole of it or a window (offset and length); [Memory] makes a disk that ends
// with the process; [Snapshot] makes one that can be written out of one that is
// only read. A [Store] is bytes: whoever serves it cuts it into sectors. The
// package storetest has the suite that every Store passes, and stores that fail
// on purpose.
//
//	disk.img, /dev/sdb                  a file, a block device
//	nbd://host[:port]/export            an export of an NBD server
//	nbd+unix:///export?socket=/path     the same, on this machine
//	mem:64M                             Memory
//
// # Durability
//
// A write that returned has been accepted, and is on stable storage when a Sync
// that was called afterwards returned nil. A Sync that failed has lost writes,
// and nobody can say which: Linux marks the pages of a failed write-back clean,
// so that the next fsync(2) may succeed without them. A Store reports the
// failure once, as the kernel does; remembering it is its user's duty (H17).
//
// Config.Direct changes where a write goes, and not what it is worth: past the
// page cache (O_DIRECT), but into the device's own cache, and the file system may
// still owe the record of where it went. Sync is as necessary as without it.
//
// An NBD server that goes away may come back without what it had answered and
// not synced. With Config.Durable, every write is durable when it returns: one
// that is made alone by FUA, and those that are made at the same time by a FLUSH
// that they share and wait for; there is nothing to forget. A FLUSH that fails
// makes all later writes fail, and Sync. Without Durable, one Sync returns
// [ErrLost]. What has not returned is repeated once the server is back, before
// anything else, or fails after NBDConfig.Patience. It is not repeated before
// NBDConfig.Fence is over if the server may still have the first copy in hand.
//
// # Exclusion
//
// A file opened for writing is locked against being opened again, by this or
// any other process that asks: the bytes of the window by an open file
// description lock (F_OFD_SETLK in fcntl(2)), a block device by O_EXCL, which
// also refuses one that is mounted. Two windows of one file may be open as long
// as they do not overlap. Read-only opening of a file takes a shared lock.
// These locks exist on Linux; elsewhere nothing is locked. NBD knows no locks:
// two targets of one export are not kept from each other.
//
// # Concurrency
//
// All methods may be called by any number of goroutines at once, except that
// nothing may be called during or after Close. What a read sees of a write to
// the same bytes that has not returned is undefined: who needs an order makes
// one (H3).
package store
