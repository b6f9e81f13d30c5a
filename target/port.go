package target

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"aoe/frame"
	"aoe/frame/link"
)

// Answers are sent together, to a quarter of the requests that came together. More
// would save system calls, and waking an initiator that has nothing to do; but what
// it is to do next comes from the first of them, and while it does that the rest is
// carried out. So neither has to wait for the other, which would sleep meanwhile, even
// where waking takes as long as a dozen requests, as on a busy host: there, a
// quarter instead of half was a tenth faster. No fewer than leastReplies are sent:
// with 4, requests took a fifth more processor time. And no more than replyBatch.
const (
	leastReplies = 8
	replyBatch   = 16
)

// spares is how many copies of a request to a wildcard are answered together.
const spares = 16

// announcePause is the least time between two announcements of everything on
// a link, so that one which flaps does not flood its segment.
const announcePause = 250 * time.Millisecond

// A port is a link being served. All of it belongs to the goroutine in receive,
// except where it says otherwise.
type port struct {
	server *Server
	link   link.Link // Send, State, Stats and Wake are anybody's

	state   link.State
	sectors int // most in a frame

	now     time.Time // when the latest frames came
	frames  [][]byte  // lent to Recv; each is a whole buffer as far as its capacity goes
	spare   [][]byte  // copies of a request to a wildcard
	copies  int       // of spare that are in replies
	replies [][]byte
	streak  streak  // being carried out here
	inline  request // an edit on its way

	wildcard  bucket
	announce  bool // everything is to be announced
	announced time.Time

	removed chan struct{} // closed when it is to end and the server is not
	done    chan struct{} // closed when receive has returned

	counts PortCounts

	mu        sync.Mutex
	published PortCounts // a copy of counts for Stats
	ended     error      // why receive returned
}

func newPort(s *Server, l link.Link) *port {
	bufs := newBuffers(s.cfg.Batch+spares, s.cfg.MaxMTU)
	p := &port{
		server:   s,
		link:     l,
		frames:   bufs[:s.cfg.Batch:s.cfg.Batch],
		spare:    bufs[s.cfg.Batch:],
		replies:  make([][]byte, 0, replyBatch+spares),
		wildcard: bucket{rate: s.cfg.WildcardReplies},
		removed:  make(chan struct{}),
		done:     make(chan struct{}),
	}
	p.inline.port = p
	p.changed(l.State())
	return p
}

// receive serves the link until it is told to stop, or the link has failed.
func (p *port) receive(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-p.removed:
			return nil
		default:
		}
		n, err := p.link.Recv(p.frames, p.patience())
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			return fmt.Errorf("target: link %s: %w", p.state.Name, err)
		}
		p.now = time.Now()
		if st := p.link.State(); st.Generation != p.state.Generation {
			p.changed(st)
		}
		p.serve(n)
		p.publish()
		if p.announce {
			p.announceAll(p.now)
		}
	}
}

// serve serves the first n frames, which came together.
func (p *port) serve(n int) {
	together := min(max(n/4, leastReplies), replyBatch)
	for i := range n {
		p.frame(&p.frames[i])
		if len(p.replies)+p.streak.n >= together {
			p.flush()
		}
	}
	p.flush()
}

// patience is how long Recv may wait: for ever, unless something has to be
// announced when the pause is over.
func (p *port) patience() time.Duration {
	if !p.announce {
		return -1
	}
	return max(announcePause-time.Since(p.announced), 0)
}

// flush carries out what is left of a streak and sends the answers. Their buffers are
// free afterwards.
func (p *port) flush() {
	p.endStreak()
	if len(p.replies) == 0 {
		return
	}
	p.counts.Replies += uint64(len(p.replies))
	p.link.Send(p.replies) // what cannot be sent is lost, and counted by the link
	clear(p.replies)
	p.replies, p.copies = p.replies[:0], 0
}

func (p *port) publish() {
	p.mu.Lock()
	p.published = p.counts
	p.mu.Unlock()
}

// changed takes over a new state of the link. Initiators are told when there is
// something they have not heard: the size of frames, another MAC, or that the
// link is back (H16, H19).
func (p *port) changed(st link.State) {
	p.state = st
	p.sectors = p.sectorsOf(st)
	p.announce = st.Up
	p.server.note(event{what: linkChanged, port: p, state: st})
}

// sectorsOf is how many sectors a frame holds on the link in state st. Anybody
// may ask.
func (p *port) sectorsOf(st link.State) int {
	return frame.SectorsPerFrame(min(st.MTU, p.server.cfg.MaxMTU))
}

// frame looks at the frame in *slot. Its answer, if it is ready, is added to
// replies and keeps the slot until flush; a request that has to wait takes the
// buffer along and leaves another.
func (p *port) frame(slot *[]byte) {
	p.counts.Frames++
	h, _, err := frame.Parse(*slot)
	switch {
	case errors.Is(err, frame.ErrEtherType):
		p.counts.Foreign++
	case err != nil:
		p.counts.Runts++
	case h.IsResponse() || h.Src.IsMulticast() || h.Src == p.state.MAC:
		// R is clear in a request (AoEr11, section 2.2). Nobody has a group
		// for an address, and we do not ask ourselves (H14).
		p.counts.Forged++
	case h.Dst != p.state.MAC && h.Dst != frame.Broadcast:
		p.counts.Misdirected++
	case h.Addr.IsWildcard():
		p.everyone(*slot, h)
	default:
		d := p.server.disk(h.Addr)
		if d == nil {
			p.counts.NoDisk++
			return
		}
		if reply := p.request(d, slot, h); reply != nil {
			p.replies = append(p.replies, reply)
		}
	}
}

// everyone puts the request b to each disk that its wildcard covers, in the
// order of their addresses: a copy for each, because each is answered.
func (p *port) everyone(b []byte, h frame.Header) {
	for _, d := range p.server.all() {
		if !h.Addr.Covers(d.addr) {
			continue
		}
		if !p.wildcard.take(time.Now) {
			p.counts.Limited++
			return
		}
		if p.copies == len(p.spare) {
			p.flush()
		}
		slot := &p.spare[p.copies]
		*slot = full(*slot)[:copy(full(*slot), b)]
		if reply := p.request(d, slot, h); reply != nil {
			p.replies = append(p.replies, reply)
			p.copies++
		}
	}
}
