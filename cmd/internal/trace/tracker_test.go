package trace

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

var (
	us    = frame.MAC{2, 0, 0, 0, 0, 1}
	them  = frame.MAC{2, 0, 0, 0, 0, 2}
	e11   = frame.Addr{Shelf: 1, Slot: 1}
	began = time.Unix(1700000000, 0)
)

func ms(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Millisecond))) }

func read(tag uint32, lba uint64) []byte {
	h := frame.Header{Dst: them, Src: us, Addr: e11, Tag: tag}
	return frame.Pad(frame.NewATA(frame.OpReadExt, lba, 1).Append(h.Append(nil)))
}

func readAnswer(tag uint32, lba uint64, status uint8) []byte {
	b := read(tag, lba)
	frame.Reply(b, them, e11)
	frame.PutResult(b, status, 0, 0)
	return append(b[:frame.ATADataOffset], make([]byte, 512)...)
}

func query(tag uint32, addr frame.Addr) []byte {
	h := frame.Header{Dst: frame.Broadcast, Src: us, Addr: addr, Tag: tag, Command: aoe.CommandQueryConfigInformation}
	return frame.Pad(frame.Config{}.Append(h.Append(nil)))
}

func queryAnswer(tag uint32, from frame.MAC, addr frame.Addr, to frame.MAC) []byte {
	h := frame.Header{Dst: to, Src: from, Addr: addr, Tag: tag, Command: aoe.CommandQueryConfigInformation, Flags: frame.FlagResponse}
	return frame.Pad(frame.Config{BufferCount: 16}.Append(h.Append(nil)))
}

// said is what matters of an event, in a word or two.
func said(e Event) string {
	s := e.Kind
	switch {
	case e.Malformed:
		return "malformed"
	case e.Answer && e.Stray:
		s += " stray"
	case e.Answer:
		s += fmt.Sprintf(" answered in %v", e.Latency)
		if e.Waited != e.Latency {
			s += fmt.Sprintf(", waited %v", e.Waited)
		}
	case e.Sent > 1:
		s += fmt.Sprintf(" sent %d", e.Sent)
	}
	if e.Failed {
		s += " failed"
	}
	return s
}

func TestWhatFramesMean(t *testing.T) {
	const r = "READ SECTORS EXT"
	type step struct {
		at    float64
		frame []byte
		want  string
	}
	const ok = frame.StatusDRDY
	e12 := frame.Addr{Shelf: 1, Slot: 2}
	for _, row := range []struct {
		name  string
		steps []step
		want  string // of the summary, of reads: requests answered again unanswered failed stray
	}{
		{"two reads, answered the other way round", []step{
			{0, read(1, 8), r}, {1, read(2, 16), r},
			{3, readAnswer(2, 16, ok), r + " answered in 2ms"}, {4, readAnswer(1, 8, ok), r + " answered in 4ms"},
		}, "2 2 0 0 0 0"},
		{"lost, and sent again with another tag", []step{
			{0, read(1, 8), r}, {10, read(5, 8), r + " sent 2"}, {11, readAnswer(5, 8, ok), r + " answered in 1ms, waited 11ms"},
		}, "1 1 1 0 0 0"},
		{"the answer to the first comes late (H5)", []step{
			{0, read(1, 8), r}, {10, read(5, 8), r + " sent 2"}, {12, readAnswer(1, 8, ok), r + " answered in 12ms"},
			{13, readAnswer(5, 8, ok), r + " stray"},
		}, "1 1 1 0 0 1"},
		{"sent again with the same tag", []step{
			{0, read(1, 8), r}, {10, read(1, 8), r + " sent 2"}, {11, readAnswer(1, 8, ok), r + " answered in 11ms"},
		}, "1 1 1 0 0 0"},
		{"never answered", []step{{0, read(1, 8), r}, {10, read(2, 8), r + " sent 2"}, {20, read(3, 9), r}}, "2 0 1 2 0 0"},
		{"the same again, after the answer", []step{
			{0, read(1, 8), r}, {1, readAnswer(1, 8, ok), r + " answered in 1ms"}, {2, read(2, 8), r}, {3, readAnswer(2, 8, ok), r + " answered in 1ms"},
		}, "2 2 0 0 0 0"},
		{"a tag used again", []step{
			{0, read(1, 8), r}, {1, readAnswer(1, 8, ok), r + " answered in 1ms"}, {2, read(1, 9), r}, {4, readAnswer(1, 9, ok), r + " answered in 2ms"},
		}, "2 2 0 0 0 0"},
		{"the disk fails", []step{
			{0, read(1, 8), r}, {1, readAnswer(1, 8, ok|frame.StatusErr), r + " answered in 1ms failed"},
		}, "1 1 0 0 1 0"},
		{"an answer from another disk", []step{
			{0, query(1, e11), "config"}, {1, queryAnswer(1, them, e12, us), "config stray"},
		}, "0 0 0 0 0 1"},
		{"many answer to a wildcard, and one announces itself", []step{
			{0, query(1, frame.Anywhere), "config"}, {1, queryAnswer(1, them, e11, us), "config answered in 1ms"},
			{2, queryAnswer(1, them, e12, us), "config answered in 2ms, waited 0s"}, {3, queryAnswer(0, them, e11, frame.Broadcast), "config stray"},
		}, "0 0 0 0 0 1"},
		{"malformed", []step{{0, read(1, 8)[:20], "malformed"}}, "0 0 0 0 0 0"},
		{"an answer after minutes", []step{
			{0, read(1, 8), r}, {400000, readAnswer(1, 8, ok), "ATA stray"},
		}, "1 0 0 1 0 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := NewTracker(frame.Anywhere)
			for i, s := range row.steps {
				e, ok := tr.Add(ms(s.at), s.frame, len(s.frame))
				if got := said(e); !ok || !strings.HasPrefix(got, s.want) || s.want == "" || len(got) != len(s.want) {
					t.Errorf("frame %d: %q, want %q", i, got, s.want)
				}
			}
			sum := tr.Summary()
			got := fmt.Sprintf("0 0 0 0 0 %d", sum.Stray)
			for _, k := range sum.Kinds {
				if k.Name == r {
					got = fmt.Sprintf("%d %d %d %d %d %d", k.Requests, k.Answered, k.Again, k.Unanswered, k.Failed, sum.Stray)
				}
			}
			if got != row.want || int(sum.Frames) != len(row.steps) {
				t.Errorf("summary %q, want %q; %+v", got, row.want, sum)
			}
		})
	}
}

// TestFramesOfOthers: what is not AoE is left out, and a VLAN tag is looked
// through.
func TestFramesOfOthers(t *testing.T) {
	tr := NewTracker(frame.Anywhere)
	arp := make([]byte, 60)
	arp[12], arp[13] = 0x08, 0x06
	if _, ok := tr.Add(ms(0), arp, 60); ok {
		t.Error("ARP is AoE")
	}
	if _, ok := tr.Add(ms(0), arp[:5], 60); ok {
		t.Error("five bytes are AoE")
	}
	b := read(1, 8)
	tagged := append(append(append([]byte(nil), b[:12]...), 0x81, 0, 0, 7), b[12:]...)
	if e, ok := tr.Add(ms(0), tagged, len(tagged)); !ok || e.Tag != 1 {
		t.Errorf("in a VLAN: %+v", e)
	}
	if s := tr.Summary(); s.Frames != 1 {
		t.Errorf("%d frames", s.Frames)
	}
}

// TestOnlySomeDisks: with what is asked of all.
func TestOnlySomeDisks(t *testing.T) {
	tr := NewTracker(frame.Addr{Shelf: 1, Slot: frame.AnySlot})
	for i, row := range []struct {
		frame []byte
		want  bool
	}{
		{query(1, frame.Anywhere), true}, {queryAnswer(1, them, e11, us), true}, {read(2, 8), true},
		{query(3, frame.Addr{Shelf: 2, Slot: 1}), false}, {queryAnswer(1, them, frame.Addr{Shelf: 2}, us), false},
	} {
		if _, ok := tr.Add(ms(float64(i)), row.frame, 60); ok != row.want {
			t.Errorf("frame %d: %v", i, ok)
		}
	}
	if s := tr.Summary(); s.Frames != 3 {
		t.Errorf("%d frames are counted", s.Frames)
	}
}

// TestMemoryIsBounded: however many requests are never answered.
func TestMemoryIsBounded(t *testing.T) {
	tr := NewTracker(frame.Anywhere)
	const n = maxOutstanding + 1000
	for i := range n {
		tr.Add(ms(float64(i)/1000), read(uint32(i), uint64(i)), 60)
	}
	if len(tr.exchanges) > maxOutstanding || len(tr.requests) > maxOutstanding {
		t.Errorf("%d exchanges, %d requests are kept", len(tr.exchanges), len(tr.requests))
	}
	if s := tr.Summary(); s.Kinds[0].Unanswered != n {
		t.Errorf("%d are unanswered, want %d", s.Kinds[0].Unanswered, n)
	}
}

// TestQuantiles are of what was waited.
func TestQuantiles(t *testing.T) {
	tr := NewTracker(frame.Anywhere)
	for i := range 100 {
		tr.Add(ms(float64(1000*i)), read(uint32(i), uint64(i)), 60)
		tr.Add(ms(float64(1000*i+i+1)), readAnswer(uint32(i), uint64(i), frame.StatusDRDY), 560)
	}
	s := tr.Summary()
	k := s.Kinds[0]
	if k.Min != time.Millisecond || k.Max != 100*time.Millisecond || k.P50 < 50*time.Millisecond || k.P50 > 52*time.Millisecond || k.P99 < 99*time.Millisecond {
		t.Errorf("%+v", k)
	}
	if b, err := json.Marshal(s); err != nil || !strings.Contains(string(b), `"p99Nanoseconds":`) {
		t.Errorf("%s, %v", b, err)
	}
}
