package attach_test

import (
	"os/exec"
	"testing"

	"aoe/initiator/attach"
)

func BenchmarkFioFUSE(b *testing.B) {
	if _, err := exec.LookPath("fio"); err != nil {
		b.Skip("needs fio: apt-get install fio")
	}
	needsLoop(b)
	for _, job := range fioJobs {
		b.Run(job.name, func(b *testing.B) {
			disk := benchDisk(b)
			d := attachFUSE(b, attach.FUSEConfig{Disk: disk})
			fio(b, append(job.args, "--ioengine=libaio", "--direct=1", "--filename="+d.Path)...)
			b.ReportMetric(float64(disk.Peak()), "in-flight")
		})
	}
}
