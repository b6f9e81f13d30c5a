package model

// An Order is where a policy looks for memory for a frame that arrives.
type Order uint8

// The orders.
const (
	// OrdinaryFirst takes an ordinary page, and what was set aside when there
	// is none.
	OrdinaryFirst Order = iota
	// SetAsideOnly takes only what was set aside: a separate allocator.
	SetAsideOnly
	// FilterFirst classifies before it takes memory: replies get what was set
	// aside, foreign frames an ordinary page.
	FilterFirst
	// Own is FilterFirst with a filter that can be deceived: a foreign frame
	// that looks like ours also gets what was set aside, until it is classified.
	Own
)

// A Policy is one answer to the question of where the memory comes from. The
// zero value is a system without an answer. A policy is data: the step function
// is the same for all.
type Policy struct {
	Name   string // as it is called on a command line
	Title  string // as it is called in a table
	Source string // who proposed it, where and when
	Right  string // what it got right
	Wrong  string // what is missing, in the author's version; empty if nothing is

	Throttle int // at most so many pages dirty or being written; zero means no limit

	// Transmit is the frames set aside for sending, used when there is no
	// ordinary page. Without KeepSent a frame is free again as soon as it is
	// on the wire.
	Transmit int
	KeepSent bool // keep the sent frame until it is answered, to send it again
	NoCopies bool // sending takes no page of the system's at all

	Order       Order
	Store       Store // for receiving; nil means nothing is set aside
	DropForeign bool  // a foreign frame in a set-aside page is freed once it is known to be foreign
	OffList     bool  // a reply in a set-aside page is thrown away: its protocol is not on the list
	Limit       int   // at most so many set-aside frames in sockets; zero means no limit
	Exempt      bool  // the disk's own socket is not subject to Limit
	TwoSteps    bool  // a reply lies in the disk's socket until the disk consumes it
	Cap         int   // what the policy says it holds at most; zero means it says nothing

	Claim   int  // everything that a request needs is taken before it begins, for so many at once; zero: no claims
	PerPage bool // ... before its page may become dirty

	Card  int  // pages in the card's receive ring; zero means frames are received into pages of the system directly
	Guard bool // the card's driver drops foreign frames when memory is short, before they cost a page
}

// An Admitter is a Store that also decides when a request may begin.
type Admitter interface {
	Store
	// Admit claims what one more request needs. If that must wait it is queued,
	// if it cannot even be queued ok is false.
	Admit(s State) (to State, ok bool)
	// Finish gives back the claim of a request whose reply, of which there is
	// one in the store, has been received.
	Finish(s State) State
	// Waiting is how many claims are queued.
	Waiting(s State) uint8
}

func (p Policy) store() Store {
	if p.Store == nil {
		return None{}
	}
	return p.Store
}
