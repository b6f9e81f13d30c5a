// Package bench keeps a number of requests to a disk in flight for a while and
// measures what comes of it, through the initiator's asynchronous interface: no
// file system, no block device and no copy in between.
//
// The next request is submitted from the callback of the one that ended, on the
// initiator's own loop, so the window never runs empty for want of a scheduler.
// Nothing is allocated between the first request and the last.
package bench
