package attach_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// The front ends' own cost, measured with fio over a disk in memory, which is
// the upper bound of what any network can give:
//
//	go test -run '^$' -bench Fio -benchtime 1x ./initiator/attach

// fioJobs is what is measured: seconds, not iterations.
var fioJobs = []struct {
	name string
	args []string
}{
	{"randread 4 KiB depth 1", []string{"--rw=randread", "--bs=4k", "--iodepth=1"}},
	{"randread 4 KiB depth 32", []string{"--rw=randread", "--bs=4k", "--iodepth=32"}},
	{"randwrite 4 KiB depth 32", []string{"--rw=randwrite", "--bs=4k", "--iodepth=32"}},
	{"read 128 KiB depth 16", []string{"--rw=read", "--bs=128k", "--iodepth=16"}},
	{"write 128 KiB depth 16", []string{"--rw=write", "--bs=128k", "--iodepth=16"}},
}

// fio runs one job for three seconds and reports what it measured.
func fio(b *testing.B, args ...string) {
	b.Helper()
	dir := b.TempDir()
	output := filepath.Join(dir, "output")
	args = append([]string{"--name=job", "--output-format=json", "--output=" + output,
		"--time_based", "--runtime=3", "--size=256m"}, args...)
	cmd := exec.CommandContext(b.Context(), "fio", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("fio: %v\n%s", err, out)
	}
	out, err := os.ReadFile(output)
	if err != nil {
		b.Fatal(err)
	}
	type side struct {
		IOPS float64 `json:"iops"`
		BW   float64 `json:"bw_bytes"`
		Lat  struct {
			Percentile map[string]float64 `json:"percentile"`
		} `json:"clat_ns"`
	}
	var result struct {
		Jobs []struct{ Read, Write side }
	}
	if err := json.Unmarshal(out, &result); err != nil {
		b.Fatalf("fio printed what is not JSON: %v", err)
	}
	r := result.Jobs[0].Read
	if r.IOPS == 0 {
		r = result.Jobs[0].Write
	}
	b.ReportMetric(r.IOPS, "IOPS")
	b.ReportMetric(r.BW/1e6, "MB/s")
	b.ReportMetric(r.Lat.Percentile["99.000000"]/1e3, "p99-µs")
	b.ReportMetric(0, "ns/op") // of no interest
}

func benchDisk(b *testing.B) *attachtest.Memory {
	return newDisk(b, attachtest.Config{Size: 256 << 20, Info: attach.Info{
		MaxRequest: 128 << 10, Preferred: 8192, Trim: true, TrimZeroes: true,
	}})
}

func BenchmarkFioNBD(b *testing.B) {
	if _, err := exec.LookPath("fio"); err != nil {
		b.Skip("needs fio: apt-get install fio")
	}
	for _, job := range fioJobs {
		b.Run(job.name, func(b *testing.B) {
			n, socket := serveNBD(b, attach.NBDConfig{Disk: benchDisk(b)})
			fio(b, append(job.args, "--ioengine=nbd", fmt.Sprintf("--uri=nbd+unix:///?socket=%s", socket))...)
			s := n.Stats()
			b.ReportMetric(float64(s.Sends)/float64(s.Reads+s.Writes), "sends/request")
		})
	}
}
