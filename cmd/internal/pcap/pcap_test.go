package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var frames = []Frame{
	{time.Unix(1700000000, 123456789), []byte("the first frame, not that long"), 30},
	{time.Unix(1700000000, 123456790), bytes.Repeat([]byte{0xa5}, 1514), 1514},
	{time.Unix(1700000007, 0), []byte("cut"), 9014},
}

func written(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func readAll(b []byte) (all []Frame, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
}

// same compares, with times cut to unit.
func same(t *testing.T, got []Frame, err error, unit time.Duration) {
	t.Helper()
	if err != nil || len(got) != len(frames) {
		t.Fatalf("%d frames, %v", len(got), err)
	}
	for i, f := range frames {
		if !got[i].Time.Equal(f.Time.Truncate(unit)) || !bytes.Equal(got[i].Data, f.Data) || got[i].Length != f.Length {
			t.Errorf("frame %d: %v, %d of %d bytes; want %v, %d of %d", i,
				got[i].Time, len(got[i].Data), got[i].Length, f.Time, len(f.Data), f.Length)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	got, err := readAll(written(t))
	same(t, got, err, time.Nanosecond)
}

// TestEveryPrefixEndsWell: a file that is being written, or was cut.
func TestEveryPrefixEndsWell(t *testing.T) {
	whole := written(t)
	for n := range whole {
		got, err := readAll(whole[:n])
		if n < 24 {
			if err == nil {
				t.Errorf("%d bytes are a capture file", n)
			}
			continue
		}
		if err != nil || len(got) > len(frames) {
			t.Errorf("%d bytes: %d frames, %v", n, len(got), err)
		}
	}
}

// TestFormatsOfEditcap: the same frames as Wireshark's own tool writes them.
func TestFormatsOfEditcap(t *testing.T) {
	if _, err := exec.LookPath("editcap"); err != nil {
		t.Skip("needs editcap: apt-get install tshark")
	}
	dir := t.TempDir()
	in := filepath.Join(dir, "in.pcap")
	if err := os.WriteFile(in, written(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, unit := range map[string]time.Duration{
		"pcap": time.Microsecond, "nsecpcap": time.Nanosecond, "pcapng": time.Nanosecond,
	} {
		out := filepath.Join(dir, format)
		if text, err := exec.Command("editcap", "-F", format, in, out).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(b)
		t.Run(format, func(t *testing.T) { same(t, got, err, unit) })
	}
}

// ng makes a pcapng file by hand: big-endian, a second interface that is not
// Ethernet, a resolution of 2^-20 and an offset.
func ng(t testing.TB) []byte {
	t.Helper()
	be := binary.BigEndian
	block := func(kind uint32, body []byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		b := be.AppendUint32(nil, kind)
		b = be.AppendUint32(b, uint32(12+len(body)))
		return be.AppendUint32(append(b, body...), uint32(12+len(body)))
	}
	section := append(be.AppendUint32(nil, byteOrderMagic), 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
	ethernet := append([]byte{0, 1, 0, 0, 0, 0, 0, 0}, 0, optionTSRes, 0, 1, 0x94, 0, 0, 0)
	ethernet = append(ethernet, 0, optionOffset, 0, 8, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0)
	loopback := []byte{0, 113, 0, 0, 0, 0, 0, 0}
	packet := func(id uint32, stamp uint64, data string) []byte {
		b := be.AppendUint32(nil, id)
		b = be.AppendUint64(b, stamp)
		b = be.AppendUint32(b, uint32(len(data)))
		return append(be.AppendUint32(b, uint32(len(data))), data...)
	}
	all := block(blockSection, section)
	all = append(all, block(blockInterface, ethernet)...)
	all = append(all, block(blockInterface, loopback)...)
	all = append(all, block(99, []byte("of tomorrow"))...)
	all = append(all, block(blockEnhanced, packet(1, 0, "not Ethernet"))...)
	return append(all, block(blockEnhanced, packet(0, 5<<20|1<<19, "hello"))...)
}

func TestPcapngByHand(t *testing.T) {
	got, err := readAll(ng(t))
	if err != nil || len(got) != 1 || string(got[0].Data) != "hello" || !got[0].Time.Equal(time.Unix(105, 5e8)) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWhatIsNoCapture(t *testing.T) {
	cooked := written(t)
	cooked[20] = 113
	for name, b := range map[string][]byte{
		"empty": {}, "text": []byte("hello, world, this is no capture file"), "cooked": cooked[:40],
		"huge": append(written(t)[:24], bytes.Repeat([]byte{0xff}, 16)...),
	} {
		if _, err := readAll(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReader: whatever the file, reading ends, and what was read can be written
// and is read again.
func FuzzReader(f *testing.F) {
	f.Add(written(f))
	f.Add(ng(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _ := readAll(b)
		var out bytes.Buffer
		w, err := NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range all {
			if err := w.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
		again, err := readAll(out.Bytes())
		if err != nil || len(again) != len(all) {
			t.Fatalf("%d frames, %v; want %d", len(again), err, len(all))
		}
		for i := range all {
			if !bytes.Equal(all[i].Data, again[i].Data) {
				t.Fatalf("frame %d differs", i)
			}
		}
	})
}
