package main

import (
	"runtime"
	"time"

	"aoe/cmd/internal/bench"
)

// profileSuite shows where the time of a request through a socket goes: who uses
// the processor, in the kernel or not, and how often threads change. What nobody
// uses was waited for.
var profileSuite = suite{
	name:   "profile",
	spread: true,
	about:  "where the time of a request of fio on `aoe attach --via nbd` goes; files on tmpfs",
	workloads: []workload{
		{bench.RandRead, 4096, 1},
		{bench.RandRead, 4096, 32},
		{bench.RandWrite, 4096, 1},
		{bench.RandWrite, 4096, 32},
		{bench.Read, 128 << 10, 16},
		{bench.Write, 128 << 10, 16},
	},
	contestants: []contestant{
		runFio.on("fio on nbdkit", nbdkitName),
		runFio.through("fio on aoe", socketName, oursName),
	},
	comparisons: []comparison{{"ours / nbdkit", "fio on aoe", "fio on nbdkit"}},
	costs: []cost{
		{"fio, user", "fio on aoe", func(s sample) float64 { return float64(s.clientUse.user) }},
		{"system", "fio on aoe", func(s sample) float64 { return float64(s.clientUse.system) }},
		{"aoe attach, user", "fio on aoe", func(s sample) float64 { return float64(s.frontUse.user) }},
		{"system", "fio on aoe", func(s sample) float64 { return float64(s.frontUse.system) }},
		{"our target, user", "fio on aoe", func(s sample) float64 { return float64(s.targetUse.user) }},
		{"system", "fio on aoe", func(s sample) float64 { return float64(s.targetUse.system) }},
		{"all three", "fio on aoe", ofAll},
		{"nobody", "fio on aoe", ofNobody},
		{"fio and nbdkit", "fio on nbdkit", ofAll},
	},
	counts: []cost{
		{"switches of fio", "fio on aoe", func(s sample) float64 { return s.clientUse.switches }},
		{"of aoe attach", "fio on aoe", func(s sample) float64 { return s.frontUse.switches }},
		{"of our target", "fio on aoe", func(s sample) float64 { return s.targetUse.switches }},
		{"reads and writes of aoe attach", "fio on aoe", func(s sample) float64 { return s.frontUse.calls }},
		{"switches of fio on nbdkit", "fio on nbdkit", func(s sample) float64 { return s.clientUse.switches }},
	},
	build: buildNBD,
}

// ofAll is the processor time of all processes together.
func ofAll(s sample) float64 { return ofTarget(s) + ofFront(s) + ofClient(s) }

// ofNobody is the processor time that was there for a request and that none of the
// processes used: it was waited, or the kernel or somebody else used it.
func ofNobody(s sample) float64 {
	there := float64(runtime.NumCPU()) * float64(time.Second) / s.perSecond
	return max(there-ofAll(s), 0)
}
