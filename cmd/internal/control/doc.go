// Package control is how a running aoe serve is looked at and changed: a socket
// in the run directory that only its owner, and root, may connect to.
//
// # Usage
//
// The process that serves calls [Listen] and closes the [Server] at the end.
// Others find it with [Find] or [List], and ask through the [Client].
//
// # Protocol
//
// HTTP over the unix socket target-NAME.sock: GET /status, and POST of a JSON
// object to each of the others, which answer with JSON or with a status of 400
// and above and {"error": "..."}. 404 means that there is no such disk, 409 that
// something is in the way which force would overcome, or that the address is
// taken. So curl can talk to it, and requests that never end, replies that nobody
// reads, and bodies of any size are net/http's to bound:
//
//	curl --unix-socket /run/aoe/target-target.sock http://target/status
//
// The words are those of the wire: mask directives are +MAC and -MAC, a config
// string is set or force set, a disk is reserved and released.
package control
