package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// runFio is fio on what is at the process: an NBD URI or a block device.
var runFio client = func(ctx context.Context, b *bed, p *process, w workload, d time.Duration) (count, error) {
	output := filepath.Join(b.dir, "fio.json") // it says other things on its standard output
	args := []string{"--name=job", "--output-format=json", "--output=" + output, "--rw=" + string(w.pattern), "--bs=" + strconv.Itoa(w.size),
		"--iodepth=" + strconv.Itoa(w.depth), "--size=" + strconv.FormatInt(b.cfg.imageBytes, 10), "--time_based",
		"--runtime=" + strconv.FormatInt(d.Milliseconds(), 10) + "ms", "--randseed=" + strconv.Itoa(seed)}
	if strings.HasPrefix(p.at, "nbd") {
		args = append(args, "--ioengine=nbd", "--uri="+p.at)
	} else {
		args = append(args, "--ioengine=libaio", "--direct=1", "--filename="+p.at)
	}
	if _, err := exec.LookPath("fio"); err != nil {
		return count{}, fmt.Errorf("%w (apt-get install fio)", err)
	}
	cmd := p.pair.A.Command("fio", args...)
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return count{}, fmt.Errorf("fio: %w\n%s", err, out)
	}
	out, err := os.ReadFile(output)
	if err != nil {
		return count{}, err
	}
	n, err := parseFio(out, w.pattern.Writes())
	if err != nil {
		return count{}, err
	}
	return n, ctx.Err()
}

// parseFio reads what fio prints as JSON.
func parseFio(out []byte, writes bool) (count, error) {
	type side struct {
		Total     uint64 `json:"total_ios"`
		Runtime   uint64 `json:"runtime"` // ms, of this direction
		ShortIOs  uint64 `json:"short_ios"`
		DroppedIO uint64 `json:"drop_ios"`
	}
	var result struct {
		Jobs []struct {
			Error      int
			Read       side
			Write      side
			UserCPU    float64 `json:"usr_cpu"` // percent of job_runtime
			SystemCPU  float64 `json:"sys_cpu"`
			JobRuntime uint64  `json:"job_runtime"` // ms
			Switches   uint64  `json:"ctx"`
		}
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return count{}, fmt.Errorf("fio printed what is not JSON: %w\n%s", err, out)
	}
	if len(result.Jobs) != 1 || result.Jobs[0].Error != 0 {
		return count{}, fmt.Errorf("fio's job failed:\n%s", out)
	}
	j := result.Jobs[0]
	s := j.Read
	if writes {
		s = j.Write
	}
	if s.Total == 0 || s.Runtime == 0 || s.ShortIOs+s.DroppedIO > 0 {
		return count{}, fmt.Errorf("fio measured nothing, or not all:\n%s", out)
	}
	took := time.Duration(s.Runtime) * time.Millisecond
	each := func(percent float64) time.Duration {
		return time.Duration(percent / 100 * float64(time.Duration(j.JobRuntime)*time.Millisecond) / float64(s.Total))
	}
	return count{
		requests: s.Total, took: took, cpu: each(j.UserCPU + j.SystemCPU),
		use: usage{user: each(j.UserCPU), system: each(j.SystemCPU), switches: float64(j.Switches) / float64(s.Total)},
	}, nil
}
