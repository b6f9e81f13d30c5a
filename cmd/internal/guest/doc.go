// Package guest builds and runs a small Linux machine whose only disk is on the
// network: a kernel of Debian's and an archive with busybox, the modules and
// aoe, booted in QEMU with software emulation on a network of its own.
//
// # Usage
//
//	k, err := guest.Prepare(ctx, guest.Source{Kernel: "6.12"}) // fetched once, then cached
//	out, err := k.Run(ctx, guest.Machine{Memory: 128 << 20, MTU: 9000, Script: "aoe discover -i eth0"})
//	// out.Status is the script's exit status
//
// The script is the guest's /job and runs in busybox's shell. It finds the disk
// e1.1 behind eth0, aoe at /bin/aoe, and modules that were not loaded at
// /modules. [Kernel.RunSeries] runs the test that this project is measured by,
// [Kernel.Ablate] the same without one mechanism at a time, and [Kernel.Netboot]
// boots a machine from the disk itself, by iPXE.
//
// # The network
//
// A namespace for the target, one for whoever floods, and one for QEMU, joined
// by a bridge; further interfaces of the guest have a cable of their own to the
// target. The namespaces have no name and are gone when the process ends. Nothing of
// the machine's own interfaces is touched.
//
// # What it needs
//
// Root, and the Debian packages named by [Missing] and [MissingIPXE].
//
// # Concurrency
//
// A Kernel may run any number of machines at once. Each has its own network,
// target, disks and directory.
package guest
