package model

// A Kind is what is known of a frame that takes up memory, and who has it.
type Kind uint8

// The kinds. A frame begins as Reply or Foreign, which is what it is; nobody
// knows that before it has been classified.
const (
	Reply     Kind = iota // answers one of our writes, not yet classified
	Foreign               // has nothing to do with the disk, not yet classified
	Unread                // lies in a socket that nobody reads
	Read                  // lies in a socket whose owner will read it
	Delivered             // a reply in the disk's own socket, not yet consumed
	kinds
	gone // as the new kind of a frame: its memory is given back
)

// cells is how much room a State has for what a Store counts.
const cells = 16

// A State is everything that decides what can happen next. It is small and
// comparable, so that it can be the key of a map.
type State struct {
	Free    uint8 // ordinary pages that nobody has
	Dirty   uint8 // pages that have to be written before they are free
	Writing uint8 // pages whose write has been submitted; still pinned
	Lost    uint8 // of these, whose request or reply the link has lost
	Card    uint8 // pages that the network card can receive into

	// Transmit frames that are kept until they are answered, by where their
	// memory comes from.
	SentOrdinary, SentReserve uint8

	Ordinary [kinds]uint8 // frames in ordinary pages
	Store    [cells]uint8 // what the policy's Store keeps, as the Store lays it out
}

// pending is how many pages wait to be clean.
func (s State) pending() uint8 { return s.Dirty + s.Writing }

// An Event is what happens in one step. Its value is how it is printed.
type Event string

// The events.
const (
	Dirtied    Event = "dirty"    // an application writes to a page
	Sent       Event = "send"     // a dirty page's write is submitted and sent
	Queued     Event = "queue"    // a dirty page's write waits to be admitted
	Replied    Event = "reply"    // a reply arrives and is given memory
	Flooded    Event = "flood"    // a foreign frame arrives and is given memory
	Forged     Event = "forge"    // a foreign frame that looks like ours until it is classified is given memory
	Completed  Event = "complete" // a reply is classified: its page is clean
	Handed     Event = "deliver"  // a reply is classified and put into the disk's socket
	Kept       Event = "keep"     // a foreign frame is classified and put into a socket
	Dropped    Event = "drop"     // a foreign frame is classified and freed at once
	Refused    Event = "refuse"   // a reply is classified and thrown away
	Consumed   Event = "read"     // somebody reads a foreign frame: freed
	LostOnLink Event = "lose"     // the link loses a request or its reply
	Resent     Event = "resend"   // a lost request is sent again
	Refilled   Event = "refill"   // the card is given a page to receive into
)

// A Transition is one thing that can happen in a state, and the state after it.
type Transition struct {
	Event Event
	To    State

	// Share is the probability of this outcome when the policy throws dice,
	// and 1 otherwise. The shares of one event need not add up to 1: what is
	// missing is the case that the frame is lost and nothing changes.
	Share float64
}
