package engine

import (
	"bytes"
	"testing"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// FuzzReceive: whatever arrives, nothing panics, and what is taken for an answer
// has the right source, destination, address, command and a live tag, and
// leaves the engine able to go on.
func FuzzReceive(f *testing.F) {
	w := newWorld(f, Config{}, initiatortest.Config{})
	w.submit(request(Read, 0, 2, 0))
	answer := w.target.Answer(w.take())[0]
	f.Add(answer)
	f.Add(answer[:40])
	f.Add(w.target.Announcement())
	refused := bytes.Clone(answer)
	refused[14] |= frame.FlagError
	f.Add(refused)
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t, Config{}, initiatortest.Config{})
		read := w.submit(request(Read, 0, 2, 0))
		sent := w.take()
		before := bytes.Clone(b)
		r, i := w.receive(b)
		if !bytes.Equal(b, before) {
			t.Fatal("a received frame was changed")
		}
		if r != nil {
			h, _, err := frame.Parse(b)
			if err != nil || r != read || i != 0 || h.Src != theirs || h.Dst != ours || h.Addr != disk || h.Tag != tagOf(sent) || !h.IsResponse() {
				t.Fatalf("taken for an answer: %s", frame.Describe(b))
			}
			return
		}
		w.unfinished(read, "nothing answered it")
		if c := w.engine.Counters(); c.Drops.Sum() != 1 {
			t.Fatalf("counted %d times", c.Drops.Sum())
		}
		w.sent = append(w.sent, sent)
		w.answerAll() // a query and an IDENTIFY, if b was an announcement
		w.outcome(read, Outcome{})
	})
}
