package main

// serveHelp is what `aoe serve --help` says.
const serveHelp = `Serve each PATH, a regular file, a block device or a URI, as the disk ADDRESS
(e1.2: shelf 1, slot 2) on all given interfaces, until SIGINT or SIGTERM. Requests
that were received are answered before it ends. URIs are:

  nbd://HOST[:PORT]/EXPORT           an export of an NBD server: qemu-nbd, nbdkit
  nbd+unix:///EXPORT?socket=SOCKET   the same, on this machine
  mem:64M                            memory that is gone when serve ends

A write is answered when it is on stable storage, and a FLUSH is a real
fdatasync. With --mode flush a write is answered when the kernel has it, and
IDENTIFY says that there is a write cache; Linux's own AoE driver never sends a
FLUSH, so keep sync for it. (Our initiator fails a FLUSH that comes after the
machine has lost its power, and with it what was not flushed.) --mode direct
promises the same as sync, and its data goes past the page cache (O_DIRECT); it
takes a file system that can, and whole blocks of the device. When a sync fails,
nobody knows which writes were lost: the disk then refuses writes until it is
served anew.

An NBD server that goes away may come back: requests wait for it half a minute,
and what was not answered is repeated. What was answered is safe in mode sync, if
the server knows FUA, as qemu-nbd and nbdkit do. Ceph is served through qemu-nbd.

With --snapshot the path is only read, also a device or URI, by many at once; what
is written goes to a sparse temporary file ($TMPDIR) and is gone when serve ends.
With --snapshot-file it is kept, for the next time it is served on the same path,
which must not change meanwhile.

A file may be sparse, and a TRIM punches a hole into it. A file that is served for
writing is locked against being served twice. --offset, --length, --read-only,
--mode and --serial apply to all disks of the command line.

Anybody who can send a frame can read and write the disks: AoE has no
authentication, and a MAC address is no secret. Config string, mask and reserve
list can be edited over the wire by whose MAC is on the disk's mask (and by nobody
while that is empty), by nobody (--wire-edits none) or by anybody (any). --state
keeps what was edited through a restart.

--config names a file with an interface or a disk a line, in the words of the
command line:

  interface eth1 eth2
  default buffers=128 wire-edits=none       # for the disks below
  disk e1.1 /srv/one.img
  disk e1.2 /dev/sdb read-only mask=02:00:00:00:00:0a,02:00:00:00:00:0b
  disk e1.3 "/srv/with a space.img" mode=flush offset=1M length=512M

On SIGHUP it is read again: what is the same is not disturbed, and a mistake
changes nothing. The options are those that aoe target add --help lists. A mask or
config string of the file gives way to what was set later, until the file says
something else than before. aoe target looks at, and changes, what is served.

EXIT STATUS
  0  ended by a signal, everything answered and synced
  1  something failed
  2  the command line was not understood`

const serveExample = `  # A file on one interface
  truncate -s 10G disk.img
  aoe serve -i eth1 e1.1 disk.img

  # Two disks on two interfaces, as one target with two paths
  aoe serve -i eth1 -i eth2 e1.1 disk.img e1.2 /dev/sdb

  # Whatever qemu-nbd can open: a qcow2 file, a Ceph image
  qemu-nbd --socket /run/e1.4 --persistent --cache=none rbd:pool/image &
  aoe serve -i eth1 e1.4 'nbd+unix:///?socket=/run/e1.4'

  # As a service does it, with a file, and settings that outlive it
  aoe serve --config /etc/aoe/target.conf --state /var/lib/aoe --name main
  aoe target list

  # A golden image that every lab may write to
  aoe serve -i eth1 --snapshot e1.5 golden.img

  # A partition-like window of a device, for reading only
  aoe serve -i eth1 --read-only --offset 1M --length 512M e1.3 /dev/sdc`
