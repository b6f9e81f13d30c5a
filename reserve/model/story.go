package model

import (
	"fmt"
	"io"
	"strings"
)

// Story writes the shortest way to die in words, or that there is none.
func (v Verdict) Story(to io.Writer) error {
	var b strings.Builder
	w := v.World
	fmt.Fprintf(&b, "%s, %s", w.Policy.Title, count(w.Pages, "page", "pages"))
	if w.Watermark > 0 {
		fmt.Fprintf(&b, ", the last %d not for applications", w.Watermark)
	}
	fmt.Fprintf(&b, ": %d states, %d dead.\n", v.States, v.Dead)
	if v.Dead == 0 {
		fmt.Fprintf(&b, "From every state with a page to write, a write can complete; it takes at most %s.\n", count(v.Farthest, "step", "steps"))
		_, err := io.WriteString(to, b.String())
		return err
	}
	before := w.Init()
	for i := 0; i < len(v.Way); {
		n := i + 1
		for n < len(v.Way) && v.Way[n].Event == v.Way[i].Event && where(before, v.Way[n-1].To) == where(v.Way[n-1].To, v.Way[n].To) {
			n++
		}
		number := fmt.Sprint(i + 1)
		if n-i > 1 {
			number = fmt.Sprintf("%d-%d", i+1, n)
		}
		after := v.Way[n-1].To
		fmt.Fprintf(&b, "%5s  %s %s\n", number, w.tell(v.Way[i].Event, n-i, before, v.Way[i].To), w.tally(after))
		before, i = after, n
	}
	fmt.Fprintf(&b, " dead  %s\n", w.Why(before))
	_, err := io.WriteString(to, b.String())
	return err
}

// where is what a frame that arrived between two states has taken.
func where(before, after State) string {
	switch {
	case after.Card < before.Card && after.Free == before.Free:
		return "a page of the card"
	case after.Free < before.Free:
		return "an ordinary page"
	case after.Store != before.Store:
		return "memory that was set aside"
	}
	return "nothing"
}

// tell is what happened n times, beginning between two states.
func (w World) tell(e Event, n int, before, after State) string {
	frames := count(n, "foreign frame", "foreign frames")
	switch e {
	case Dirtied:
		return fmt.Sprintf("Applications write to %s.", count(n, "page", "pages"))
	case Sent:
		return fmt.Sprintf("The system sends %s to be written.", count(n, "dirty page", "dirty pages"))
	case Queued:
		return fmt.Sprintf("%s for memory to be sent with.", count(n, "dirty page waits", "dirty pages wait"))
	case Replied:
		return fmt.Sprintf("%s and %s %s.", count(n, "reply arrives", "replies arrive"), takes(n), where(before, after))
	case Flooded:
		return fmt.Sprintf("%s and %s %s.", count(n, "foreign frame arrives", "foreign frames arrive"), takes(n), where(before, after))
	case Forged:
		return fmt.Sprintf("%s and %s %s.", count(n, "frame that looks like ours arrives", "frames that look like ours arrive"), takes(n), where(before, after))
	case Completed:
		return fmt.Sprintf("%s complete: as many pages are clean.", count(n, "write is", "writes are"))
	case Handed:
		return fmt.Sprintf("%s handed to the disk's socket.", count(n, "reply is", "replies are"))
	case Kept:
		if w.Flood == ReadSoon {
			return fmt.Sprintf("%s put into a socket that is read.", count(n, "foreign frame is", "foreign frames are"))
		}
		return fmt.Sprintf("%s put into a socket that nobody reads.", count(n, "foreign frame is", "foreign frames are"))
	case Dropped:
		return fmt.Sprintf("%s known to be foreign, and freed.", count(n, "frame is", "frames are"))
	case Refused:
		return fmt.Sprintf("%s thrown away.", count(n, "reply is", "replies are"))
	case Consumed:
		return fmt.Sprintf("%s read, and freed.", frames)
	case LostOnLink:
		return fmt.Sprintf("%s lost on the link.", count(n, "message is", "messages are"))
	case Resent:
		return fmt.Sprintf("%s again.", count(n, "request is sent", "requests are sent"))
	case Refilled:
		return fmt.Sprintf("The card is given %s to receive into.", count(n, "page", "pages"))
	}
	return string(e)
}

// tally is where the memory is.
func (w World) tally(s State) string {
	parts := []string{fmt.Sprintf("%d free", s.Free)}
	add := func(n uint8, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(s.Dirty, "dirty")
	add(s.Writing, "being written")
	st := w.Policy.store()
	add(s.Ordinary[Unread]+s.Ordinary[Foreign]+st.Held(s, Unread)+st.Held(s, Foreign), "under foreign frames")
	if w.Policy.Card > 0 {
		parts = append(parts, fmt.Sprintf("%d with the card", s.Card))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// Why says what is missing in a dead state.
func (w World) Why(s State) string {
	p := w.Policy
	var why []string
	if s.Dirty > 0 && len(w.send(nil, s)) == 0 {
		missing := "there is no page"
		if p.Transmit == 0 && p.Claim == 0 {
			missing += ", and nothing was set aside for sending"
		}
		why = append(why, fmt.Sprintf("%s to be written. To send one takes memory: %s.", count(int(s.Dirty), "page waits", "pages wait"), missing))
	}
	switch {
	case p.OffList:
		why = append(why, "A reply that arrives is thrown away: its protocol is not on the list.")
	case p.Card > 0 && s.Card == 0:
		why = append(why, "A reply that arrives is lost: the card has no page to receive it into, and there is none to give it.")
	case p.Limit > 0 && !p.Exempt && s.Dirty > 0 && s.Free > 0:
		why = append(why, "A reply that arrives is refused: the sockets hold as much as they may.")
	case p.Store == nil:
		why = append(why, "A reply that arrives is lost: there is no page, and nothing was set aside for receiving.")
	default:
		why = append(why, w.whyReplies(s))
	}
	return strings.Join(why, " ")
}

func (w World) whyReplies(s State) string {
	p, st := w.Policy, w.Policy.store()
	if p.Limit > 0 && !p.Exempt && int(st.Held(s, Unread)+st.Held(s, Read)) >= p.Limit {
		return "A reply that arrives is refused: the sockets hold as much as they may."
	}
	switch x := st.(type) {
	case Grouped:
		if s.Store[leaked] > 0 {
			return fmt.Sprintf("A reply that arrives is lost: %s that were set aside never came back, because their objects were freed in another order.",
				count(int(s.Store[leaked]), "page", "pages"))
		}
	case PerCPU:
		if s.Store[remote] > 0 {
			return fmt.Sprintf("A reply that arrives is lost: %s on a list that the owner looks at when it next frees something, and it has nothing to free.",
				count(int(s.Store[remote]), "frame lies", "frames lie"))
		}
	case Credited:
		if x.Frames == 0 {
			return "A reply that arrives is lost: what was set aside is too small for a single frame."
		}
	}
	return fmt.Sprintf("A reply that arrives is lost: %s under foreign frames.",
		count(int(st.Held(s, Unread)+st.Held(s, Foreign)), "frame that was set aside is", "frames that were set aside are"))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func takes(n int) string {
	if n == 1 {
		return "takes"
	}
	return "take"
}
