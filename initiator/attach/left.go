package attach

// LeftDevices are the devices of ublk and of the kernel's NBD client that were made
// for the disk of that name and serial number (see [Info]). The kernel does not say
// whether who made them lives; the caller has to know.
func LeftDevices(name, serial string) ([]string, error) { return leftDevices(name, serial) }

// EndDevices ends what LeftDevices finds, whether it is used or not: who uses such a
// device gets I/O errors, and data that was not yet written is lost. The process that
// made it must be dead. It does not wait: a device stays until the last who has it
// open closes it.
func EndDevices(name, serial string) error { return endDevices(name, serial) }
