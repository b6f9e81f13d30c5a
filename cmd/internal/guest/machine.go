package guest

import (
	"bytes"
	"compress/gzip"
	_ "embed" // init.sh
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aoe/cmd/internal/guest/newc"
	"aoe/frame"
)

// A Machine is one guest, what it does and what it is connected to. Script is
// needed.
type Machine struct {
	// Script is what the guest's shell runs.
	Script string
	// MemoryBytes of the guest. Zero means DefaultMemory.
	MemoryBytes int64
	// MTU of the network. Zero means 9000.
	MTU int
	// Modules to load in addition to that of the network card. Modules that this
	// kernel does not have are reported by Output.NoModule.
	Modules []string
	// Disks is the number of disks on the network, e1.1, e1.2 and so on. Zero
	// means 1; negative means none.
	Disks int
	// DiskBytes is the size of each. Zero means 512 MiB.
	DiskBytes int64
	// Image is what e1.1 begins with. The rest of it, and the others, are zeros.
	Image []byte
	// Interfaces is the number of network cards, eth0, eth1 and so on, each on a
	// network of its own on which the target has one too. Zero means 1. More than
	// one takes the target "serve".
	Interfaces int
	// Target serves the disks: "own", which is what empty means, in this process;
	// "serve", a process of its own, aoe serve; or "vblade".
	Target string
	// WriteBack lets our own target keep answered writes in a cache until a flush.
	WriteBack bool
	// Files are put into the guest: where, and from where on this machine.
	Files map[string]string
	// KernelArgs are added to the kernel's command line.
	KernelArgs string
	// Timeout bounds the run. Zero means DefaultTimeout.
	Timeout time.Duration
	// Dir is where disks and archives are made, in a directory of their own. Empty
	// means /dev/shm if there is one, else the directory for temporary files.
	Dir string
	// Serial gets what the guest prints from when the script begins, as it prints
	// it. Nil drops it.
	Serial io.Writer
	// Watch is called with every line of the guest's, by one goroutine, and may
	// use the Control until it returns. Nil watches nothing.
	Watch func(line string, c *Control)
	// Tick is called every second by the same goroutine. Nil does nothing.
	Tick func(c *Control)
	// Capture is called with every frame of AoE on eth0, by a goroutine of its own,
	// and borrows it. Nil captures nothing.
	Capture func(frame []byte)
	// Ended is called when guest and target have ended, with the disks' files,
	// which are removed when it returns. Nil does nothing.
	Ended func(out *Output, paths []string) error
}

// Defaults of Machine.
const (
	DefaultMemory  = 128 << 20
	DefaultMTU     = 9000
	DefaultDisk    = 512 << 20
	DefaultTimeout = 5 * time.Minute
)

func (m Machine) withDefaults() (Machine, error) {
	if m.MemoryBytes == 0 {
		m.MemoryBytes = DefaultMemory
	}
	if m.MTU == 0 {
		m.MTU = DefaultMTU
	}
	if m.Disks == 0 {
		m.Disks = 1
	}
	if m.Interfaces == 0 {
		m.Interfaces = 1
	}
	if m.DiskBytes == 0 {
		m.DiskBytes = DefaultDisk
	}
	if m.Target == "" {
		m.Target = "own"
	}
	if m.Timeout == 0 {
		m.Timeout = DefaultTimeout
	}
	switch {
	case m.MemoryBytes < 64<<20:
		return m, fmt.Errorf("guest: %d bytes of memory: a kernel of Debian's needs 64M to start", m.MemoryBytes)
	case m.DiskBytes < 0 || m.DiskBytes%4096 != 0:
		return m, fmt.Errorf("guest: a disk of %d bytes: want a multiple of 4096", m.DiskBytes)
	case !slices.Contains(Targets, m.Target):
		return m, fmt.Errorf("guest: there is no target %q: want one of %s", m.Target, strings.Join(Targets, ", "))
	case m.Interfaces < 1 || m.Interfaces > maxInterfaces:
		return m, fmt.Errorf("guest: %d interfaces: want 1 to %d", m.Interfaces, maxInterfaces)
	case m.Interfaces > 1 && m.Target != "serve":
		return m, fmt.Errorf("guest: %d interfaces with the target %s: want the target serve", m.Interfaces, m.Target)
	case int64(len(m.Image)) > m.DiskBytes:
		return m, fmt.Errorf("guest: an image of %d bytes for a disk of %d", len(m.Image), m.DiskBytes)
	case m.Disks > 16:
		return m, fmt.Errorf("guest: %d disks: want 16 at most", m.Disks)
	}
	return m, nil
}

// Targets are the names that Machine.Target takes.
var Targets = []string{"own", "serve", "vblade"}

// maxInterfaces is as many as there are addresses for: see guestMAC.
const maxInterfaces = 8

// diskAddr is the address of the i-th disk, from zero.
func diskAddr(i int) frame.Addr { return frame.Addr{Shelf: 1, Slot: uint8(i + 1)} }

// An Output is how a run ended.
type Output struct {
	End    End
	Status int           // the script's, if it ended
	Took   time.Duration // from the start of the script
	Serial []byte        // all that the guest printed
	// NoModule names the modules that were asked for and that the kernel does not
	// have.
	NoModule []string
}

// An End is the way in which a guest ended.
type End string

// The ends.
const (
	Exited   End = "exit"    // the script ended
	Panicked End = "panic"   // the kernel gave up
	TimedOut End = "timeout" // nothing of this kind within Machine.Timeout
	Stopped  End = "stopped" // by Control.Stop
	Vanished End = "gone"    // QEMU ended, and nobody knows why
)

// netModules are those of the card that QEMU gives the guest.
var netModules = []string{"virtio_pci", "virtio_net"}

//go:embed init.sh
var initScript []byte

// archive makes the guest's file system.
func (k *Kernel) archive(m Machine) (data []byte, missing []string, err error) {
	load := func(name string) (*module, error) {
		path, ok := k.modules[name]
		if !ok {
			return nil, nil
		}
		return readModule(path)
	}
	order, missing, err := loadOrder(slices.Concat(netModules, m.Modules), load)
	if err != nil {
		return nil, nil, err
	}
	// virtio_pci is built in some kernels: then there is no such file.
	missing = slices.DeleteFunc(missing, func(name string) bool { return slices.Contains(netModules, name) })

	var disks []string
	for i := range max(m.Disks, 0) {
		disks = append(disks, diskAddr(i).String())
	}
	var cards []string
	for i := range m.Interfaces {
		cards = append(cards, interfaceName(i))
	}
	env := fmt.Sprintf("export AOE_INTERFACE=eth0 AOE_INTERFACES='%s' AOE_MTU=%d AOE_DISKS='%s'\n",
		strings.Join(cards, " "), m.MTU, strings.Join(disks, " "))

	var b bytes.Buffer
	w := newc.NewWriter(&b)
	var names strings.Builder
	for _, mod := range order {
		names.WriteString(mod.name + "\n")
	}
	for _, dir := range []string{"bin", "dev", "modules"} {
		err = firstError(err, w.Dir(dir, 0o755))
	}
	// The kernel opens it before there is a devtmpfs.
	err = firstError(err, w.CharDevice("dev/console", 0o600, 5, 1))
	err = firstError(err, w.File("init", 0o755, initScript))
	err = firstError(err, w.File("bin/busybox", 0o755, k.busybox))
	err = firstError(err, w.File("bin/aoe", 0o755, k.aoe))
	err = firstError(err, w.File("job", 0o755, []byte(m.Script)))
	err = firstError(err, w.File("job.env", 0o644, []byte(env)))
	err = firstError(err, w.File("modules/load", 0o644, []byte(names.String())))
	for _, mod := range order {
		err = firstError(err, w.File("modules/"+mod.name+".ko", 0o644, mod.data))
	}
	for _, to := range slices.Sorted(maps.Keys(m.Files)) {
		data, readErr := os.ReadFile(m.Files[to])
		err = firstError(err, firstError(readErr, w.File(to, 0o755, data)))
	}
	return b.Bytes(), missing, firstError(err, w.Close())
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// processor is what can be emulated but for what makes Linux slower here, by a
// quarter in all: a "rep movsb", which it takes for the fastest way to copy, is
// carried out byte by byte; each access to user space switches SMAP off and on,
// and with it the cache of translated addresses; and walks through page tables
// have a level more.
//
// CMPXCHG16B is left out for what QEMU 7.2 does with it: the flags it leaves are made
// of an older instruction's, so that any bit may be set. Linux, which allocates with it,
// does not look at those; but an interrupt that comes before the next comparison saves
// them, and with VM among them it ends in a double fault.
const processor = "max,erms=off,fsrm=off,smap=off,smep=off,pku=off,la57=off,cx16=off"

// hardware is QEMU's command line without what it boots. The serial port is its
// standard input and output, qmp the path of a socket.
func (m Machine) hardware(qmp string) []string {
	args := []string{
		"-nodefaults", "-M", "q35,usb=off", "-accel", "tcg", "-cpu", processor, "-smp", "1",
		"-m", fmt.Sprintf("%dK", m.MemoryBytes>>10), "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial",
		"-qmp", "unix:" + qmp + ",server=on,wait=off",
	}
	for i := range m.Interfaces {
		args = append(args,
			"-netdev", fmt.Sprintf("tap,id=n%d,script=no,downscript=no,ifname=%s", i, tapName(i)),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,romfile=,mac=%s", i, guestMAC(i)))
	}
	return args
}

// linuxArgs is QEMU's command line for a guest that runs Linux, and writes its
// archive into dir.
func (k *Kernel) linuxArgs(m Machine, dir string) (args, missing []string, err error) {
	archive, missing, err := k.archive(m)
	if err != nil {
		return nil, nil, err
	}
	if m.MemoryBytes < DefaultMemory {
		if archive, err = packed(archive); err != nil {
			return nil, nil, err
		}
	}
	path := filepath.Join(dir, "initrd")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		return nil, nil, fmt.Errorf("guest: %w", err)
	}
	return append(m.hardware(filepath.Join(dir, qmpSocket)), "-kernel", k.image, "-initrd", path,
		// tsc=reliable: a guest that was held up finds its clock unstable, and with
		// the other one, of the emulated machine, everything takes far longer.
		"-append", "console=ttyS0 rdinit=/init panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable "+
			"random.trust_cpu=on net.ifnames=0 printk.devkmsg=on sysrq_always_enabled "+m.KernelArgs), missing, nil
}

// packed is the archive compressed, which takes longer to boot. But while the kernel
// unpacks an archive it lies in memory beside what is unpacked, which may take half
// of the rest: 96 MiB are not enough for one that is not compressed.
func packed(archive []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(archive)
	if err = firstError(err, w.Close()); err != nil {
		return nil, fmt.Errorf("guest: pack the archive: %w", err)
	}
	return b.Bytes(), nil
}

// qmpSocket is the name of QEMU's monitor in the machine's directory.
const qmpSocket = "qmp"

// interfaceName is the i-th interface of the guest, and of the target.
func interfaceName(i int) string { return fmt.Sprintf("eth%d", i) }

// tapName is the interface that QEMU is given for it, in the namespace of
// guestHost.
func tapName(i int) string { return fmt.Sprintf("tap%d", i) }

// guestMAC is the address of the guest's i-th interface.
func guestMAC(i int) frame.MAC { return frame.MAC{0x02, 0, 0, 0, 0x01, byte(i + 1)} }
