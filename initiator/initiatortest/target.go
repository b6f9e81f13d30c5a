package initiatortest

import (
	"bytes"
	"sync"
	"time"

	"aoe/frame"

	"github.com/mdlayher/aoe"
)

// A Config is a disk. Zero fields have the defaults given.
type Config struct {
	Addr    frame.Addr // zero: e0.0, a legal address
	MAC     frame.MAC  // of the target; with Start: the link's
	Sectors uint64     // zero: 2048, 1 MiB
	Serial  string     // zero: "initiatortest"
	Buffers uint16     // buffer count; zero: 64

	// MaxSectors is the sector count in query config answers, and what asks for
	// more is refused with error 2. Zero: 255, any frame that arrives.
	MaxSectors uint8

	Instance frame.Instance // zero: not told

	// Verifier is shown in IDENTIFY, if there is an instance, and in answers, as
	// aoe serve does. Zero: not told, and nothing is ever forgotten. See PowerFails.
	Verifier     frame.Verifier
	WriteThrough bool // nothing is forgotten

	// Recent is how many writes and trims are remembered by MAC and tag, so that
	// a frame that the network has doubled is not carried out twice (H1), as a
	// good target does. Zero: none, as vblade.
	Recent int

	NoFlush, NoTrim bool // what IDENTIFY leaves out
	LBA28           bool // no 48-bit commands

	Faults Faults
}

// Faults are the ways to misbehave; the zero value has none. "Every n-th" counts
// requests that would be answered.
type Faults struct {
	DropEvery      int // every n-th reply is lost, though the request was executed
	DuplicateEvery int // every n-th reply is sent twice
	IgnoreEvery    int // every n-th request is lost before it is executed

	Silent      bool // nothing is executed or answered
	QueriesOnly bool // no ATA command is
	Swallow     int  // requests longer than this many bytes are lost, as in a switch with a small MTU

	Delay      time.Duration // of every reply; only with Start
	FlushDelay time.Duration // of replies to flushes, instead; only with Start

	AoEError  aoe.Error // ATA reads and writes, flushes and trims are answered with E and this
	ATAError  uint8     // reads and writes end with status ERR and this error register
	Truncate  int       // replies to reads lack this many bytes
	BadCount  bool      // the sector count of replies is nonsense (H12)
	WrongAddr bool      // replies come from another address
}

// A Target serves one disk. Its methods may be called by any number of
// goroutines.
type Target struct {
	mu     sync.Mutex
	cfg    Config
	data   []byte
	cache  cache
	config []byte // config string
	count  int    // requests that faults count
	seen   Seen

	recent map[origin]bool
	oldest []origin // of them, in order
}

// An origin is what a copy of a frame has in common with it.
type origin struct {
	mac frame.MAC
	tag uint32
}

// isCopy reports whether the request that comes from there was carried out
// before, and remembers it.
func (t *Target) isCopy(o origin) bool {
	if t.cfg.Recent == 0 {
		return false
	}
	if t.recent[o] {
		return true
	}
	if len(t.oldest) >= t.cfg.Recent {
		delete(t.recent, t.oldest[0])
		t.oldest = t.oldest[1:]
	}
	t.recent[o] = true
	t.oldest = append(t.oldest, o)
	return false
}

// Seen counts requests executed, and what a target should never see.
type Seen struct {
	Reads, Writes, Flushes, Trims, Identifies, Queries int

	// LongestIdentify is the length in bytes of the longest IDENTIFY frame.
	LongestIdentify int
	// MostPending is the most requests that were received and not answered at
	// the same time; only with Start.
	MostPending int
	// Sectors counts frames of reads and writes by their sector count.
	Sectors map[uint8]int
}

// New makes a target that answers through Answer.
func New(cfg Config) *Target {
	if cfg.Sectors == 0 {
		cfg.Sectors = 2048
	}
	if cfg.Serial == "" {
		cfg.Serial = "initiatortest"
	}
	if cfg.Buffers == 0 {
		cfg.Buffers = 64
	}
	if cfg.MaxSectors == 0 {
		cfg.MaxSectors = 255
	}
	return &Target{cfg: cfg, data: make([]byte, cfg.Sectors*frame.SectorSize), seen: Seen{Sectors: map[uint8]int{}}, recent: map[origin]bool{}}
}

// Change changes the configuration, faults included, under the target's lock. A
// larger disk grows with zeros.
func (t *Target) Change(f func(*Config)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.cfg)
	if n := int(t.cfg.Sectors * frame.SectorSize); n > len(t.data) {
		t.data = append(t.data, make([]byte, n-len(t.data))...)
	}
}

// Seen is what was seen so far.
func (t *Target) Seen() Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seen
	s.Sectors = map[uint8]int{}
	for k, v := range t.seen.Sectors {
		s.Sectors[k] = v
	}
	return s
}

// Bytes copies n bytes of the disk from offset off.
func (t *Target) Bytes(off, n int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.data[off : off+n])
}

// Identify is what the disk says of itself.
func (t *Target) Identify() frame.Identify {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cfg.identify()
}

func (c *Config) identify() frame.Identify {
	return frame.Identify{
		Serial: c.Serial, Model: "initiatortest", Sectors: c.Sectors, LBA28: c.LBA28,
		Instance: c.Instance, Verifier: c.Verifier, WriteCache: !c.NoFlush && !c.WriteThrough, Flush: !c.NoFlush, FlushExt: !c.NoFlush && !c.LBA28, Trim: !c.NoTrim,
	}
}

// Announcement is the frame in which the disk announces itself (AoEr11, section
// 3.2): a query config answer of tag 0 to everybody.
func (t *Target) Announcement() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := frame.Header{
		Dst: frame.Broadcast, Src: t.cfg.MAC, Flags: frame.FlagResponse,
		Addr: t.cfg.Addr, Command: aoe.CommandQueryConfigInformation,
	}
	return frame.Pad(t.cfg.answer(t.config).Append(h.Append(nil)))
}

func (c *Config) answer(s []byte) frame.Config {
	return frame.Config{BufferCount: c.Buffers, Firmware: 0x4004, SectorCount: c.MaxSectors, String: s}
}

// Answer executes the request and returns the replies: usually one, none when
// the request is not for this disk or is lost, two when it is duplicated.
func (t *Target) Answer(request []byte) [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, arg, err := frame.Parse(request)
	f := &t.cfg.Faults
	if err != nil || h.IsResponse() || !h.Addr.Covers(t.cfg.Addr) || f.Silent ||
		f.Swallow > 0 && len(request) > f.Swallow {
		return nil
	}
	t.count++
	if every(t.count, f.IgnoreEvery) {
		return nil
	}
	var reply []byte
	switch h.Command {
	case aoe.CommandQueryConfigInformation:
		reply = t.query(bytes.Clone(request), arg)
	case aoe.CommandIssueATACommand:
		if h.Addr.IsWildcard() || f.QueriesOnly {
			return nil
		}
		reply = t.ata(h, request, arg)
	default:
		reply = t.refuse(request, aoe.ErrorUnrecognizedCommandCode)
	}
	if reply == nil || every(t.count, f.DropEvery) {
		return nil
	}
	if f.WrongAddr {
		reply[18]++
	}
	if every(t.count, f.DuplicateEvery) {
		return [][]byte{reply, bytes.Clone(reply)}
	}
	return [][]byte{reply}
}

func every(count, n int) bool { return n > 0 && count%n == 0 }

func (t *Target) refuse(request []byte, code aoe.Error) []byte {
	b := bytes.Clone(request)
	frame.ReplyError(b, t.cfg.MAC, t.cfg.Addr, code)
	return b
}

// query serves query config with its sub-commands (AoEr11, section 3.2).
func (t *Target) query(b, arg []byte) []byte {
	c, err := frame.ParseConfig(arg)
	if err != nil {
		return t.refuse(b, aoe.ErrorBadArgumentParameter)
	}
	t.seen.Queries++
	switch c.Sub {
	case aoe.ConfigCommandTest:
		if !bytes.Equal(c.String, t.config) {
			return nil
		}
	case aoe.ConfigCommandTestPrefix:
		if !bytes.HasPrefix(t.config, c.String) {
			return nil
		}
	case aoe.ConfigCommandSet, aoe.ConfigCommandForceSet:
		if c.Sub == aoe.ConfigCommandSet && len(t.config) > 0 && !bytes.Equal(t.config, c.String) {
			return t.refuse(b, aoe.ErrorConfigStringPresent)
		}
		t.config = bytes.Clone(c.String)
	}
	frame.Reply(b, t.cfg.MAC, t.cfg.Addr)
	answer := t.cfg.answer(t.config)
	answer.Sub = c.Sub
	return frame.Pad(answer.Append(b[:frame.HeaderLen]))
}
