package main

import (
	"aoe/cmd/internal/bench"
)

// A suite is what one table is about.
type suite struct {
	name, about string
	workloads   []workload
	contestants []contestant
	comparisons []comparison
	costs       []cost
	counts      []cost           // columns of what else is told of each request; none: no such table
	spread      bool             // over all processors: more than two processes work for a request
	megabytes   bool             // show bytes and not requests a second
	build       func(*bed) error // starts what the contestants need
	memory      string           // whose most resident memory is told; empty: nobody's
}

// A comparison is a column of ratios of two contestants.
type comparison struct{ title, a, b string }

// A cost is a column of processor times, or of counts.
type cost struct {
	title, contestant string
	of                func(sample) float64 // nanoseconds, or how many
}

func ofTarget(s sample) float64 { return float64(s.target) }
func ofFront(s sample) float64  { return float64(s.front) }
func ofClient(s sample) float64 { return float64(s.client) }

// The names of the processes.
const (
	oursName, directName = "aoe", "aoe direct"
	flushName            = "aoe flush"
	bareName             = "bare"
	vbladeName           = "vblade"
	vbladeDirectName     = "vblade direct"
	nbdkitName           = "nbdkit"
	nbdkitHereName       = "nbdkit-here"
	socketName           = "socket"
	deviceName           = "device"
	memoryName           = "memory"
	asleepName           = "asleep"
)

// echoed is the contestant that is the limit.
var echoed = contestant{"echo", runEcho}

var suites = []suite{pathSuite, targetSuite, durableSuite, pollSuite, initiatorSuite, nbdSuite, fuseSuite, sequentialSuite, profileSuite}

var pathSuite = suite{
	name:  "path",
	about: "both sides, each with ours and with somebody else's at the other end; files on tmpfs",
	workloads: []workload{
		{bench.RandRead, 4096, 1},
		{bench.RandRead, 4096, 16},
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 1},
		{bench.RandWrite, 4096, 32},
		{bench.Read, payload, 32},
		{bench.Write, payload, 32},
	},
	contestants: []contestant{
		echoed,
		runPlain.on("plain on vblade", vbladeName),
		runPlain.on("plain on aoe", oursName),
		runBench.on("aoe on vblade", vbladeName),
		runBench.on("aoe on aoe", oursName),
	},
	comparisons: []comparison{
		{"our target / vblade (plain client)", "plain on aoe", "plain on vblade"},
		{"our client / plain (on vblade)", "aoe on vblade", "plain on vblade"},
		{"ours / vblade and plain", "aoe on aoe", "plain on vblade"},
		{"ours / echo", "aoe on aoe", "echo"},
		{"echo / vblade and plain", "echo", "plain on vblade"},
	},
	costs: []cost{
		{"vblade", "plain on vblade", ofTarget},
		{"our target", "plain on aoe", ofTarget},
		{"our client on vblade", "aoe on vblade", ofClient},
		{"our client on ours", "aoe on aoe", ofClient},
	},
	build: func(b *bed) error {
		return inTurn(b.echoCable,
			func() error { return b.serveOurs(oursName, b.dir) },
			func() error { return b.serveTheirs(vbladeName, b.dir) })
	},
	memory: oursName,
}

var targetSuite = suite{
	name:  "target",
	about: "our target in flush mode, vblade, and a loop that only reads or writes the file, a plain client on each; files on tmpfs",
	workloads: []workload{
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 32},
		{bench.Read, payload, 32},
		{bench.Write, payload, 32},
	},
	contestants: []contestant{
		echoed,
		runPlain.on("bare", bareName),
		runPlain.on("vblade", vbladeName),
		runPlain.on("aoe, flush mode", flushName),
	},
	comparisons: []comparison{
		{"ours / vblade", "aoe, flush mode", "vblade"},
		{"bare / vblade", "bare", "vblade"},
		{"ours / bare", "aoe, flush mode", "bare"},
		{"ours / echo", "aoe, flush mode", "echo"},
		{"echo / vblade", "echo", "vblade"},
	},
	costs: []cost{
		{"echo", "echo", ofTarget},
		{"bare", "bare", ofTarget},
		{"vblade", "vblade", ofTarget},
		{"our target", "aoe, flush mode", ofTarget},
	},
	build: func(b *bed) error {
		return inTurn(b.echoCable,
			func() error { return b.serveBare(bareName) },
			func() error { return b.serveOurs(flushName, b.dir, "--mode", "flush") },
			func() error { return b.serveTheirs(vbladeName, b.dir) })
	},
	memory: flushName,
}

// durableImages are what durableSuite serves.
const durableImages = 5

var durableSuite = suite{
	name:  "durable",
	about: "what is written is on the disk when it is answered, except in flush mode; files on ext4 on a loop device over a file",
	workloads: []workload{
		{bench.RandWrite, 4096, 1},
		{bench.RandWrite, 4096, 32},
		{bench.Write, payload, 32},
		{bench.RandRead, 4096, 32},
	},
	contestants: []contestant{
		runPlain.on("vblade -s", vbladeName),
		runPlain.on("vblade -s -d", vbladeDirectName),
		runPlain.on("aoe, sync mode", oursName),
		runPlain.on("aoe, direct mode", directName),
		runPlain.on("aoe, flush mode", flushName),
	},
	comparisons: []comparison{
		{"sync / vblade -s", "aoe, sync mode", "vblade -s"},
		{"direct / vblade -s -d", "aoe, direct mode", "vblade -s -d"},
		{"direct / sync", "aoe, direct mode", "aoe, sync mode"},
		{"flush / sync", "aoe, flush mode", "aoe, sync mode"},
	},
	costs: []cost{
		{"vblade -s", "vblade -s", ofTarget},
		{"vblade -s -d", "vblade -s -d", ofTarget},
		{"sync mode", "aoe, sync mode", ofTarget},
		{"direct mode", "aoe, direct mode", ofTarget},
		{"flush mode", "aoe, flush mode", ofTarget},
	},
	build: func(b *bed) error {
		dir, err := b.ext4(b.cfg.dir, durableImages)
		if err != nil {
			return err
		}
		return inTurn(
			func() error { return b.serveTheirs(vbladeName, dir, "-s") },
			func() error { return b.serveTheirs(vbladeDirectName, dir, "-s", "-d") },
			func() error { return b.serveOurs(oursName, dir, "--mode", "sync") },
			func() error { return b.serveOurs(directName, dir, "--mode", "direct") },
			func() error { return b.serveOurs(flushName, dir, "--mode", "flush") })
	},
}

var pollSuite = suite{
	name:  "poll",
	about: "`aoe bench` on `aoe serve`, where both, one, or neither of them looks for frames before it sleeps; files on tmpfs",
	workloads: []workload{
		{bench.RandRead, 4096, 1},
		{bench.RandWrite, 4096, 1},
		{bench.RandRead, 4096, 4},
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 32},
		{bench.Read, payload, 32},
		{bench.Write, payload, 32},
	},
	contestants: []contestant{
		runBenchAsleep.on("neither", asleepName),
		runBenchAsleep.on("the target", oursName),
		runBench.on("the client", asleepName),
		runBench.on("both", oursName),
	},
	comparisons: []comparison{
		{"the target / neither", "the target", "neither"},
		{"the client / neither", "the client", "neither"},
		{"both / neither", "both", "neither"},
	},
	costs: []cost{
		{"target, neither", "neither", ofTarget},
		{"target, both", "both", ofTarget},
		{"client, neither", "neither", ofClient},
		{"client, both", "both", ofClient},
	},
	build: func(b *bed) error {
		return inTurn(
			func() error { return b.serveOurs(oursName, b.dir) },
			func() error { return b.serveOurs(asleepName, b.dir, noPoll...) })
	},
}

var initiatorSuite = suite{
	name:  "initiator",
	about: "our client as a library on our target, and frames of the same sizes without either; a file on tmpfs",
	workloads: []workload{
		{bench.RandRead, 4096, 1},
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 1},
		{bench.RandWrite, 4096, 32},
		{bench.Read, payload, 1},
		{bench.Read, payload, 32},
	},
	contestants: []contestant{
		echoed,
		runLibrary.on("library on aoe", oursName),
	},
	comparisons: []comparison{{"ours / echo", "library on aoe", "echo"}},
	costs: []cost{
		{"echo, far end", "echo", ofTarget},
		{"our target", "library on aoe", ofTarget},
		{"echo, near end", "echo", ofClient},
		{"library", "library on aoe", ofClient},
	},
	build: func(b *bed) error {
		return inTurn(b.echoCable, func() error { return b.serveOurs(oursName, b.dir) })
	},
}

var nbdSuite = suite{
	name:   "nbd",
	spread: true,
	about:  "fio on `aoe attach --via nbd`, and on nbdkit over TCP on the same cable, and on a Unix socket, without a network; files on tmpfs",
	workloads: []workload{
		{bench.RandRead, 4096, 1},
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 1},
		{bench.RandWrite, 4096, 32},
	},
	contestants: []contestant{
		runFio.on("fio on nbdkit", nbdkitName),
		runFio.on("fio on nbdkit without a network", nbdkitHereName),
		runFio.through("fio on aoe", socketName, oursName),
	},
	comparisons: []comparison{
		{"ours / nbdkit", "fio on aoe", "fio on nbdkit"},
		{"without a network / nbdkit", "fio on nbdkit without a network", "fio on nbdkit"},
	},
	costs: []cost{
		{"nbdkit", "fio on nbdkit", ofTarget},
		{"nbdkit without a network", "fio on nbdkit without a network", ofTarget},
		{"our target", "fio on aoe", ofTarget},
		{"aoe attach", "fio on aoe", ofFront},
		{"fio on nbdkit", "fio on nbdkit", ofClient},
		{"fio on aoe", "fio on aoe", ofClient},
	},
	build: func(b *bed) error {
		return inTurn(
			func() error { return buildNBD(b) },
			func() error { return b.serveNBDHere(nbdkitHereName, b.processes[oursName].pair) })
	},
}

func buildNBD(b *bed) error {
	return inTurn(
		func() error { return b.serveOurs(oursName, b.dir) },
		func() error { return b.serveNBD(nbdkitName, b.processes[oursName].pair) },
		func() error { return b.attachNBD(socketName, oursName) })
}

var fuseSuite = suite{
	name:   "fuse",
	spread: true,
	about:  "fio on a loop device over FUSE, of an attached disk whose file is on tmpfs, and of memory in the same process",
	workloads: []workload{
		{bench.RandRead, 4096, 1},
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 32},
		{bench.Read, 128 << 10, 16},
		{bench.Write, 128 << 10, 16},
	},
	contestants: []contestant{
		runFio.on("memory", memoryName),
		runFio.through("disk", deviceName, oursName),
	},
	comparisons: []comparison{{"disk / memory", "disk", "memory"}},
	costs: []cost{
		{"front end of memory", "memory", ofTarget},
		{"front end of the disk", "disk", ofFront},
		{"our target", "disk", ofTarget},
		{"fio on memory", "memory", ofClient},
		{"fio on the disk", "disk", ofClient},
	},
	build: func(b *bed) error {
		return inTurn(
			func() error { return b.serveOurs(oursName, b.dir) },
			func() error { return b.attachFUSE(memoryName, "") },
			func() error { return b.attachFUSE(deviceName, oursName) })
	},
}

var sequentialSuite = suite{
	name:   "sequential",
	spread: true,
	about:  "one request after the other, 128 KiB, on the same cable; files on tmpfs; the echo's frames are those that a request is cut into",
	workloads: []workload{
		{bench.Read, 128 << 10, 4},
		{bench.Read, 128 << 10, 16},
		{bench.Write, 128 << 10, 4},
		{bench.Write, 128 << 10, 16},
	},
	contestants: []contestant{
		echoed,
		runLibrary.on("library on aoe", oursName),
		runFio.through("fio on aoe", socketName, oursName),
		runFio.on("fio on nbdkit", nbdkitName),
	},
	comparisons: []comparison{
		{"library / nbdkit", "library on aoe", "fio on nbdkit"},
		{"fio on aoe / nbdkit", "fio on aoe", "fio on nbdkit"},
		{"library / echo", "library on aoe", "echo"},
	},
	costs: []cost{
		{"nbdkit", "fio on nbdkit", ofTarget},
		{"our target of the library", "library on aoe", ofTarget},
		{"our target of fio", "fio on aoe", ofTarget},
		{"aoe attach", "fio on aoe", ofFront},
		{"library", "library on aoe", ofClient},
		{"fio on aoe", "fio on aoe", ofClient},
		{"fio on nbdkit", "fio on nbdkit", ofClient},
	},
	megabytes: true,
	build: func(b *bed) error {
		return inTurn(b.echoCable, func() error { return buildNBD(b) })
	},
}

// inTurn calls all until one fails.
func inTurn(all ...func() error) error {
	for _, f := range all {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
