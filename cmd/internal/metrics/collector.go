package metrics

import (
	"aoe/frame"
	"aoe/frame/link"
	"aoe/target"

	"github.com/prometheus/client_golang/prometheus"
)

// A collector asks the target for its counters each time it is asked itself, so
// that nothing is counted twice and nothing in the data path knows of it.
type collector struct {
	stats func() target.Stats
}

// New is a collector over stats, which it calls once for each collection.
func New(stats func() target.Stats) prometheus.Collector { return collector{stats} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("aoe_target_"+name, help, labels, nil)
}

// A metric is a number of a T, with the values of its labels behind the first.
type metric[T any] struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string
	value  func(*T) float64
}

func counter[T any](d *prometheus.Desc, value func(*T) uint64, labels ...string) metric[T] {
	return metric[T]{d, prometheus.CounterValue, labels, func(t *T) float64 { return float64(value(t)) }}
}

func gauge[T any](d *prometheus.Desc, value func(*T) float64, labels ...string) metric[T] {
	return metric[T]{d, prometheus.GaugeValue, labels, value}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	requests    = desc("requests_total", "Requests carried out.", "disk", "op")
	moved       = desc("bytes_total", "Bytes read from and written to the disk.", "disk", "op")
	storeErrors = desc("store_errors_total", "Calls of the store, or of what keeps settings, that failed.", "disk", "op")
	unserved    = desc("requests_unserved_total", "Requests that were refused, ignored, or answered without being carried out.", "disk", "reason")
	frames      = desc("frames_total", "Frames received and sent.", "link", "direction")
	frameBytes  = desc("frame_bytes_total", "Bytes of frames received and sent.", "link", "direction")
	lostFrames  = desc("frames_dropped_total", "Frames that came to nothing.", "link", "reason")
)

type disk = target.DiskStats

var ofDisks = []metric[disk]{
	gauge(desc("size_bytes", "Size of the disk.", "disk"), func(d *disk) float64 { return float64(d.Sectors) * frame.SectorSize }),
	gauge(desc("buffers_advertised", "Requests that the disk says it can hold.", "disk"), func(d *disk) float64 { return float64(d.BufferCount) }),
	gauge(desc("buffers_reserved", "Requests that it can hold.", "disk"), func(d *disk) float64 { return float64(d.Buffers) }),
	gauge(desc("buffers_held", "Requests that it holds.", "disk"), func(d *disk) float64 { return float64(d.Held) }),
	gauge(desc("failed", "1 if a sync has failed: the disk refuses writes until it is served anew.", "disk"), func(d *disk) float64 { return truth(d.Failed != "") }),
	counter(desc("syncs_total", "Syncs by which writes and flushes were committed.", "disk"), func(d *disk) uint64 { return d.Syncs }),
	counter(desc("bounced_total", "Reads and writes past the page cache that were copied because they were not aligned.", "disk"), func(d *disk) uint64 { return d.Bounced }),
	counter(desc("waited_total", "Requests that waited for others to the same sectors.", "disk"), func(d *disk) uint64 { return d.Waited }),

	counter(requests, func(d *disk) uint64 { return d.Reads }, "read"),
	counter(requests, func(d *disk) uint64 { return d.Writes }, "write"),
	counter(requests, func(d *disk) uint64 { return d.Flushes }, "flush"),
	counter(requests, func(d *disk) uint64 { return d.Trims }, "trim"),
	counter(requests, func(d *disk) uint64 { return d.Identifies }, "identify"),
	counter(requests, func(d *disk) uint64 { return d.Queries }, "query"),
	counter(requests, func(d *disk) uint64 { return d.Edits }, "edit"),
	counter(moved, func(d *disk) uint64 { return d.ReadBytes }, "read"),
	counter(moved, func(d *disk) uint64 { return d.WriteBytes }, "write"),

	counter(storeErrors, func(d *disk) uint64 { return d.ReadErrors }, "read"),
	counter(storeErrors, func(d *disk) uint64 { return d.WriteErrors }, "write"),
	counter(storeErrors, func(d *disk) uint64 { return d.FlushErrors }, "flush"),
	counter(storeErrors, func(d *disk) uint64 { return d.SyncErrors }, "sync"),
	counter(storeErrors, func(d *disk) uint64 { return d.KeepErrors }, "keep"),
	counter(storeErrors, func(d *disk) uint64 { return d.SizeErrors }, "size"),

	counter(unserved, func(d *disk) uint64 { return d.Refused }, "refused"),
	counter(unserved, func(d *disk) uint64 { return d.Aborted }, "aborted"),
	counter(unserved, func(d *disk) uint64 { return d.Masked }, "masked"),
	counter(unserved, func(d *disk) uint64 { return d.Copies }, "copy"),
	counter(unserved, func(d *disk) uint64 { return d.LateCopies }, "late copy"),
	counter(unserved, func(d *disk) uint64 { return d.Overflow }, "no buffer"),
}

type port = target.PortStats

func ofLink(d *prometheus.Desc, value func(*link.Stats) uint64, labels ...string) metric[port] {
	return counter(d, func(p *port) uint64 { return value(&p.Link) }, labels...)
}

var ofLinks = []metric[port]{
	gauge(desc("link_up", "1 if the link is up and served.", "link"), func(p *port) float64 { return truth(p.Up && p.Ended == "") }),
	gauge(desc("link_mtu_bytes", "MTU of the link.", "link"), func(p *port) float64 { return float64(p.MTU) }),
	counter(desc("announcements_total", "Times that all disks were announced.", "link"), func(p *port) uint64 { return p.Announced }),
	ofLink(desc("link_flaps_total", "Times that the link went down.", "link"), func(l *link.Stats) uint64 { return l.Flaps }),

	ofLink(frames, func(l *link.Stats) uint64 { return l.Received }, "received"),
	ofLink(frames, func(l *link.Stats) uint64 { return l.Sent }, "sent"),
	ofLink(frameBytes, func(l *link.Stats) uint64 { return l.ReceivedBytes }, "received"),
	ofLink(frameBytes, func(l *link.Stats) uint64 { return l.SentBytes }, "sent"),

	ofLink(lostFrames, func(l *link.Stats) uint64 { return l.Truncated }, "truncated"),
	ofLink(lostFrames, func(l *link.Stats) uint64 { return l.KernelDropped }, "no room in the kernel"),
	ofLink(lostFrames, func(l *link.Stats) uint64 { return l.Foreign }, "VLAN"),
	ofLink(lostFrames, func(l *link.Stats) uint64 { return l.SendDropped }, "not sent"),
	counter(lostFrames, func(p *port) uint64 { return p.Foreign }, "not AoE"),
	counter(lostFrames, func(p *port) uint64 { return p.Runts }, "runt"),
	counter(lostFrames, func(p *port) uint64 { return p.Forged }, "forged"),
	counter(lostFrames, func(p *port) uint64 { return p.Misdirected }, "misdirected"),
	counter(lostFrames, func(p *port) uint64 { return p.NoDisk }, "no such disk"),
	counter(lostFrames, func(p *port) uint64 { return p.Limited }, "rate limit"),
}

var (
	diskInfo = desc("disk_info", "What the disk is; always 1.", "disk", "store", "serial", "mode", "read_only")
	linkInfo = desc("link_info", "What the link is; always 1.", "link", "mac")
)

// syncSeconds is where write latency comes from in the modes that sync.
var syncSeconds = desc("sync_seconds", "How long syncs took.", "disk")

func syncTimes(d *disk) prometheus.Metric {
	var count uint64
	below := map[float64]uint64{}
	for i, n := range d.SyncTimes.Counts {
		count += n
		if i < len(target.LatencyBounds) {
			below[target.LatencyBounds[i].Seconds()] = count
		}
	}
	return prometheus.MustNewConstHistogram(syncSeconds, count, d.SyncTimes.Sum.Seconds(), below, d.Addr.String())
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range ofDisks {
		ch <- m.desc
	}
	for _, m := range ofLinks {
		ch <- m.desc
	}
	ch <- syncSeconds
	ch <- diskInfo
	ch <- linkInfo
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st := c.stats()
	for i := range st.Disks {
		d := &st.Disks[i]
		collect(ch, ofDisks, d, d.Addr.String())
		ch <- syncTimes(d)
		readOnly := "false"
		if d.ReadOnly {
			readOnly = "true"
		}
		ch <- prometheus.MustNewConstMetric(diskInfo, prometheus.GaugeValue, 1, d.Addr.String(), d.Name, d.Serial, d.Mode.String(), readOnly)
	}
	for i := range st.Links {
		l := &st.Links[i]
		collect(ch, ofLinks, l, l.Name)
		ch <- prometheus.MustNewConstMetric(linkInfo, prometheus.GaugeValue, 1, l.Name, l.MAC.String())
	}
}

func collect[T any](ch chan<- prometheus.Metric, metrics []metric[T], t *T, name string) {
	for _, m := range metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(t), append([]string{name}, m.labels...)...)
	}
}
