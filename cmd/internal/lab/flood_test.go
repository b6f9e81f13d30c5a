package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
)

var (
	testInitiator = frame.MAC{2, 0, 0, 0, 0, 1}
	testTarget    = frame.MAC{2, 0, 0, 0, 0, 2}
	testAddr      = frame.Addr{Shelf: 1, Slot: 1}
)

func testForger() forger {
	return forger{rng: newRand(1, "test"), addr: testAddr, initiator: testInitiator, target: testTarget, payload: 8192}
}

// A sink is a Link that keeps what is sent.
type sink struct {
	mu     sync.Mutex
	frames [][]byte
	err    error
}

func (s *sink) Recv([][]byte, time.Duration) (int, error) { return 0, net.ErrClosed }
func (s *sink) Wake()                                     {}
func (s *sink) State() link.State                         { return link.State{MTU: 9000, Up: true} }
func (s *sink) Stats() link.Stats                         { return link.Stats{} }
func (s *sink) Close() error                              { return nil }
func (s *sink) Send(frames [][]byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	for _, f := range frames {
		s.frames = append(s.frames, append([]byte(nil), f...))
	}
	return len(frames), nil
}

// TestForgeriesAreWhatTheySay: each kind is the attack that its name promises:
// a flood of frames that are merely garbage would prove less.
func TestForgeriesAreWhatTheySay(t *testing.T) {
	type look func(t *testing.T, h frame.Header, arg []byte)
	ata := func(check func(t *testing.T, a frame.ATA, rest []byte)) look {
		return func(t *testing.T, h frame.Header, arg []byte) {
			a, rest, err := frame.ParseATA(arg)
			if err != nil || h.Command != aoe.CommandIssueATACommand {
				t.Fatalf("not an ATA frame: %+v, %v", h, err)
			}
			check(t, a, rest)
		}
	}
	looks := map[string]look{
		"read reply, guessed tag": ata(func(t *testing.T, a frame.ATA, rest []byte) {
			if len(rest) != 8192 || a.Status()&frame.StatusFault != 0 {
				t.Errorf("%d bytes, status %#x: want a good answer", len(rest), a.Status())
			}
		}),
		"error reply, guessed tag": func(t *testing.T, h frame.Header, _ []byte) {
			if !h.IsError() || h.Error == 0 {
				t.Errorf("%+v is not an error", h)
			}
		},
		"config reply, guessed tag": func(t *testing.T, h frame.Header, arg []byte) {
			if c, err := frame.ParseConfig(arg); err != nil || c.BufferCount != 1 {
				t.Errorf("%+v, %v", c, err)
			}
		},
		"request": ata(func(*testing.T, frame.ATA, []byte) {}),
		"reply":   ata(func(*testing.T, frame.ATA, []byte) {}),
		"forced config string": func(t *testing.T, h frame.Header, arg []byte) {
			if c, err := frame.ParseConfig(arg); err != nil || c.Sub != aoe.ConfigCommandForceSet || string(c.String) != "forged" {
				t.Errorf("%+v, %v", c, err)
			}
		},
		"mask edit": func(t *testing.T, h frame.Header, arg []byte) {
			if m, err := frame.ParseMask(arg); err != nil || m.Len() != 1 || m.At(0).MAC != stranger {
				t.Errorf("%+v, %v", m, err)
			}
		},
		"reserve": func(t *testing.T, h frame.Header, arg []byte) {
			if r, err := frame.ParseReserve(arg); err != nil || r.Len() != 1 || r.At(0) != stranger {
				t.Errorf("%+v, %v", r, err)
			}
		},
		"write to every disk": ata(func(t *testing.T, a frame.ATA, rest []byte) {
			if !a.Op.IsWrite() || len(rest) != 512 {
				t.Errorf("%+v with %d bytes", a, len(rest))
			}
		}),
		"write longer than its frame": ata(func(t *testing.T, a frame.ATA, rest []byte) {
			if _, err := frame.Data(rest, int(a.Count)); err == nil {
				t.Errorf("%+v with %d bytes is long enough", a, len(rest))
			}
		}),
		"read beyond the end": ata(func(t *testing.T, a frame.ATA, _ []byte) {
			if a.LBA+uint64(a.Count) <= frame.MaxSectors {
				t.Errorf("%+v is on the largest disk", a)
			}
		}),
	}
	for side, kinds := range map[string][]forgery{"initiator": againstInitiator(), "target": againstTarget()} {
		for _, k := range kinds {
			t.Run(side+"/"+k.name, func(t *testing.T) {
				f := testForger()
				b := k.make(&f, nil)
				h, arg, err := frame.Parse(b)
				switch k.name {
				case "foreign EtherType":
					if binary.BigEndian.Uint16(b[12:]) != ForeignEtherType || len(b) != 1000 {
						t.Errorf("%d bytes, EtherType %#x", len(b), b[12:14])
					}
				case "cut short":
					if !errors.Is(err, frame.ErrShort) {
						t.Errorf("%d bytes parse: %v", len(b), err)
					}
				default:
					if err != nil {
						t.Fatal(err)
					}
					look, ok := looks[k.name]
					if !ok {
						t.Fatal("no test knows what this is to be")
					}
					look(t, h, arg)
				}
			})
		}
	}
}

// TestForgedRepliesLookReal: right MACs, right address, tags of the shape that
// the initiator uses.
func TestForgedRepliesLookReal(t *testing.T) {
	f := testForger()
	tags := map[uint32]bool{}
	for range 100 {
		h, _, err := frame.Parse(f.readReply(nil))
		if err != nil || h.Src != testTarget || h.Dst != testInitiator || h.Addr != testAddr || !h.IsResponse() || h.Tag>>31 != 0 {
			t.Fatalf("%+v, %v", h, err)
		}
		tags[h.Tag] = true
	}
	if len(tags) < 99 {
		t.Errorf("%d different tags in 100 guesses", len(tags))
	}
}

// TestFloodKeepsItsBounds: rate and number.
func TestFloodKeepsItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		f := startFlood(t.Context(), floodConfig{link: s, kinds: againstInitiator(), forger: testForger(), rate: 5000, most: 7500})
		time.Sleep(time.Second)
		synctest.Wait()
		s.mu.Lock()
		n := len(s.frames)
		s.mu.Unlock()
		if n < 4900 || n > 5000 {
			t.Errorf("%d frames in a second, want 5000", n)
		}
		time.Sleep(time.Minute)
		sent, err := f.stop()
		if err != nil {
			t.Fatal(err)
		}
		total := uint64(0)
		for name, n := range sent {
			total += n
			if n == 0 {
				t.Errorf("not one %q", name)
			}
		}
		if total != 7500 || len(s.frames) != 7500 {
			t.Errorf("counted %d, sent %d: want 7500", total, len(s.frames))
		}
	})
}

func TestFloodEndsWithItsLinkAndItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: net.ErrClosed}
		f := startFlood(t.Context(), floodConfig{link: s, kinds: againstTarget(), forger: testForger(), rate: 1000, most: 100})
		time.Sleep(time.Second)
		if _, err := f.stop(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("on a closed link: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f = startFlood(ctx, floodConfig{link: &sink{}, kinds: againstTarget(), forger: testForger(), rate: 1000, most: 1 << 30})
		cancel()
		f.wg.Wait() // the test would deadlock if it did not end
		if _, err := f.stop(); err != nil {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestPartsOfARunReplay: one seed gives each part its own, repeatable numbers.
func TestPartsOfARunReplay(t *testing.T) {
	if newRand(7, "flood").Uint64() != newRand(7, "flood").Uint64() {
		t.Error("one seed, two streams")
	}
	if newRand(7, "flood").Uint64() == newRand(7, "model").Uint64() {
		t.Error("two parts share a stream")
	}
}
