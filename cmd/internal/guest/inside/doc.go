// Package inside is what runs in the guest beside busybox: a program that needs
// more memory than there is and looks at every word of it, a socket that nobody
// reads, and somebody who watches.
//
// What they have to tell goes to /dev/kmsg, each line as a whole, beginning with
// "guest: " and made of words and key=value; package guest reads it from the
// serial port.
//
// # Memory
//
// The filler gets all it needs before it begins: its arena is mapped and not yet
// backed, which is the point; the rest (a byte for each page, the text of a line)
// is locked. It allocates nothing afterwards, and the collector is off. The watcher
// is locked whole, as far as it is touched.
//
// Linux only; elsewhere everything fails with [errors.ErrUnsupported].
package inside
