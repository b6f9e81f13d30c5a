package metrics

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func stats() target.Stats {
	return target.Stats{
		Disks: []target.DiskStats{
			{Addr: frame.Addr{Shelf: 1, Slot: 1}, Name: "disk.img", Serial: "s1", Sectors: 2048, BufferCount: 64, Buffers: 128, Held: 3,
				DiskCounts: target.DiskCounts{Reads: 7, ReadBytes: 7 * 4096, LateCopies: 2},
				SyncTimes:  target.Latency{Counts: [len(target.LatencyBounds) + 1]uint64{1, 2, 0, 4, 10: 8}, Sum: 90 * time.Second}},
			{Addr: frame.Addr{Shelf: 1, Slot: 2}, Name: "b.img", ReadOnly: true, Failed: "input/output error"},
		},
		Links: []target.PortStats{{Name: "eth1", MAC: frame.MAC{2, 0, 0, 0, 0, 1}, MTU: 9000, Up: true,
			Link: link.Stats{Received: 11, KernelDropped: 4}, PortCounts: target.PortCounts{Forged: 5}}},
	}
}

// TestScrape: what the target counted is what Prometheus gets.
func TestScrape(t *testing.T) {
	s, err := Listen("127.0.0.1:0", stats)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	resp, err := http.Get("http://" + s.Addr.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	for _, line := range []string{
		`aoe_target_requests_total{disk="e1.1",op="read"} 7`,
		`aoe_target_bytes_total{disk="e1.1",op="read"} 28672`,
		`aoe_target_requests_unserved_total{disk="e1.1",reason="late copy"} 2`,
		`aoe_target_size_bytes{disk="e1.1"} 1.048576e+06`,
		`aoe_target_buffers_held{disk="e1.1"} 3`,
		`aoe_target_sync_seconds_bucket{disk="e1.1",le="6.4e-05"} 1`,
		`aoe_target_sync_seconds_bucket{disk="e1.1",le="0.001024"} 3`,
		`aoe_target_sync_seconds_bucket{disk="e1.1",le="16.777216"} 7`,
		`aoe_target_sync_seconds_bucket{disk="e1.1",le="+Inf"} 15`,
		`aoe_target_sync_seconds_sum{disk="e1.1"} 90`,
		`aoe_target_failed{disk="e1.1"} 0`,
		`aoe_target_failed{disk="e1.2"} 1`,
		`aoe_target_disk_info{disk="e1.2",mode="sync",read_only="true",serial="",store="b.img"} 1`,
		`aoe_target_frames_total{direction="received",link="eth1"} 11`,
		`aoe_target_frames_dropped_total{link="eth1",reason="no room in the kernel"} 4`,
		`aoe_target_frames_dropped_total{link="eth1",reason="forged"} 5`,
		`aoe_target_link_up{link="eth1"} 1`,
	} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if !strings.Contains(string(body), "go_goroutines") || !strings.Contains(string(body), "process_resident_memory_bytes") {
		t.Error("nothing of the process itself")
	}
}

// TestNamesAreGood: the linter of Prometheus has nothing to say.
func TestNamesAreGood(t *testing.T) {
	problems, err := testutil.CollectAndLint(New(stats))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestEveryCounterIsTold: a counter that the target gets is not forgotten here.
// Each is given a number of its own, which must turn up.
func TestEveryCounterIsTold(t *testing.T) {
	var d target.DiskStats
	var p target.PortStats
	next := uint64(1000)
	fill := func(v reflect.Value) {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Uint64 {
				f.SetUint(next)
				next++
			}
		}
	}
	fill(reflect.ValueOf(&d.DiskCounts).Elem())
	fill(reflect.ValueOf(&p.PortCounts).Elem())
	fill(reflect.ValueOf(&p.Link).Elem())
	told := make(map[float64]bool)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(New(func() target.Stats {
		return target.Stats{Disks: []target.DiskStats{d}, Links: []target.PortStats{p}}
	}))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if c := m.GetCounter(); c != nil {
				told[c.GetValue()] = true
			}
		}
	}
	for _, v := range []reflect.Value{reflect.ValueOf(d.DiskCounts), reflect.ValueOf(p.PortCounts), reflect.ValueOf(p.Link)} {
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch name {
			case "HeldMost", "Frames", "Replies": // a maximum; and twice what the link tells
				continue
			}
			if f := v.Field(i); f.Kind() == reflect.Uint64 && !told[float64(f.Uint())] {
				t.Errorf("%s.%s is not told", v.Type().Name(), name)
			}
		}
	}
}

// A place that is taken is an error, and says where.
func TestListenFails(t *testing.T) {
	s, err := Listen("127.0.0.1:0", stats)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := Listen(s.Addr.String(), stats); err == nil || !strings.Contains(err.Error(), s.Addr.String()) {
		t.Errorf("listening twice: %v", err)
	}
}
