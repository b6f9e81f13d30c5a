package engine

import "github.com/mdlayher/aoe"

// A Kind is what a request does.
type Kind uint8

// The kinds of requests. Write and Trim modify the disk.
const (
	Read Kind = iota + 1
	Write
	Flush
	Trim
)

// modifies reports whether a late copy of a frame of kind k could undo
// something.
func (k Kind) modifies() bool { return k == Write || k == Trim }

// A Request is one operation of the disk, cut into frames. The exported fields
// are the caller's to fill; see the package comment for who owns it when. It may
// be used again after it was completed.
type Request struct {
	Kind    Kind
	LBA     uint64 // first sector; no meaning for Flush
	Sectors uint64 // zero for Flush
	Frames  []Frame
	ID      uint32 // the caller's; not looked at

	number    uint64 // in order of submission
	outcome   Outcome
	started   int  // frames that were sent at least once
	pending   int  // frames that are not finished
	waits     int  // earlier overlapping requests that are not finished (H3)
	following bool // a later request may be waiting for this one
	place     place
	cached    cached

	// all links the unfinished requests in order of submission, queue the
	// requests of one place.
	all, queue link
}

// A Frame is one command of a request.
type Frame struct {
	// Transmit is the whole encoded frame. Its MACs and tag are overwritten.
	Transmit []byte
	LBA      uint64
	Sectors  uint64 // of a read, also how much data the answer must hold

	// From and Count are the sectors of the frame, counted from its first, that
	// the answer which Receive has just reported is about. It is about all,
	// unless the path carries less than the frame.
	From, Count uint64

	slot  int32 // zero when it is not in flight
	index int32 // in the request
	part  uint64
	cut   bool // it is, or was, sent in parts: part sectors are done
	req   *Request

	listed     bool // its next part is to be sent
	prev, next *Frame
}

// A Result says how a request ended.
type Result uint8

// The results. OK, TargetError and ATAError are what the target answered, the
// others what we found.
const (
	OK          Result = iota
	TargetError        // the answer has E set: Outcome.Code
	ATAError           // the status register tells an error: Outcome.Status, Error, LBA
	Unanswered         // no answer within the dead time, though the target answers others
	Down               // the target is silent for the dead time, or not the disk it was
	Canceled           // by Cancel
	Closed             // by Close
	Forgotten          // a flush succeeded, but the disk has forgotten what was acknowledged before it
)

// An Outcome is the result of a request with what the target said of it.
type Outcome struct {
	Result Result
	Code   aoe.Error // AoE error, with TargetError
	Status uint8     // ATA status register, with ATAError
	Error  uint8     // ATA error register, with ATAError
	LBA    uint64    // first sector of the frame that failed
}

// Outcome is how r ended. It is valid once Completed has returned r.
func (r *Request) Outcome() Outcome { return r.outcome }

// reset makes r ready for a new life.
func (r *Request) reset() {
	r.outcome, r.cached = Outcome{}, cached{}
	r.started, r.pending, r.waits, r.following = 0, len(r.Frames), 0, false
	for i := range r.Frames {
		f := &r.Frames[i]
		*f = Frame{Transmit: f.Transmit, LBA: f.LBA, Sectors: f.Sectors, req: r, index: int32(i)}
	}
}

// conflicts reports whether a and b must not be in flight together (H3).
func conflicts(a, b *Request) bool {
	return (a.Kind.modifies() || b.Kind.modifies()) && overlap(a.LBA, a.Sectors, b.LBA, b.Sectors)
}

func overlap(a, an, b, bn uint64) bool { return a < b+bn && b < a+an }

// A place is where an unfinished request is.
type place uint8

const (
	nowhere    place = iota
	blocked          // behind an earlier overlapping request
	fencedOff        // behind copies of earlier writes
	ready            // has frames that were not sent yet
	inFlight         // all frames were sent
	isFinished       // waits for Completed
)

type link struct{ prev, next *Request }

// A requestList is a list through one of the two links of its requests.
type requestList struct {
	head, tail *Request
	byQueue    bool
}

func (l *requestList) link(r *Request) *link {
	if l.byQueue {
		return &r.queue
	}
	return &r.all
}

func (l *requestList) push(r *Request) {
	k := l.link(r)
	k.prev, k.next = l.tail, nil
	if l.tail == nil {
		l.head = r
	} else {
		l.link(l.tail).next = r
	}
	l.tail = r
}

func (l *requestList) remove(r *Request) {
	k := l.link(r)
	if k.prev == nil {
		l.head = k.next
	} else {
		l.link(k.prev).next = k.next
	}
	if k.next == nil {
		l.tail = k.prev
	} else {
		l.link(k.next).prev = k.prev
	}
	k.prev, k.next = nil, nil
}
