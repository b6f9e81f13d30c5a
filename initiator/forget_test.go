package initiator

import (
	"errors"
	"testing"

	"aoe/frame"
	"aoe/initiator/initiatortest"
)

// forgetfulBed is a disk whose target has a write cache, and has just lost a write.
func forgetfulBed(t *testing.T) *bed {
	t.Helper()
	b := newBed(t, bedConfig{target: initiatortest.Config{Instance: 1, Verifier: frame.NewVerifier(1)}})
	if _, err := b.disk.WriteAt(pattern(1, 8192), 0); err != nil {
		t.Fatal(err)
	}
	b.target.PowerFails(func(uint64) bool { return true })
	b.target.Change(func(c *initiatortest.Config) { c.Verifier++ })
	return b
}

// wantForgotten wants one flush to say that something may be missing, and the next
// not.
func (b *bed) wantForgotten() {
	b.t.Helper()
	if err := b.disk.Flush(b.ctx()); !errors.Is(err, ErrForgotten) {
		b.t.Errorf("the target has lost what was written: %v", err)
	}
	if err := b.disk.Flush(b.ctx()); err != nil {
		b.t.Errorf("it was told: %v", err)
	}
}

// TestH17ForgottenIsTold by a flush, and once.
func TestH17ForgottenIsTold(t *testing.T) {
	b := forgetfulBed(t)
	b.wantForgotten()
	if n := b.disk.Stats().Forgotten; n != 1 {
		t.Errorf("%d flushes are counted, want 1", n)
	}
}

// TestH17ForgottenIsToldToSomebody: when the context of a flush has ended in the
// moment in which its answer came, nobody was told, and the next one tells.
func TestH17ForgottenIsToldToSomebody(t *testing.T) {
	b := forgetfulBed(t)
	r, err := b.disk.Admit(b.ctx(), Op{Kind: Flush})
	if err != nil {
		t.Fatal(err)
	}
	// What start and wait do, whose caller has left in between.
	r.handOver()
	r.waiting = true
	r.waiter.Store(waiterGone)
	r.send()
	b.until("the flush has ended", func() bool { return b.disk.Stats().Forgotten == 1 })
	if !b.disk.inbox.cancel(r) {
		t.Fatal("the disk is closed")
	}
	b.wantForgotten()
}
