package initiator

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"aoe/initiator/initiatortest"
)

// TestAbandonedReadLeavesTheSliceAlone: after Read has returned because its
// context ended, the answer comes, and the slice is not touched.
func TestAbandonedReadLeavesTheSliceAlone(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{Depth: 2}})
	if _, err := b.disk.WriteAt(pattern(1, 8192), 0); err != nil {
		t.Fatal(err)
	}
	b.sw.Cut(theirs, ours)
	p := make([]byte, 8192)
	for range 10 { // more than there are requests: each must come back
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		if n, err := b.disk.Read(ctx, p, 0); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
		cancel()
	}
	b.sw.Heal()
	b.until("all requests came back", func() bool { return len(b.disk.idle) == 2 })
	if _, err := b.disk.ReadAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, make([]byte, len(p))) {
		t.Error("the slice was written to after Read had returned")
	}
}

func TestContextThatHasEnded(t *testing.T) {
	b := newBed(t, bedConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.disk.Read(ctx, make([]byte, 512), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if _, err := b.disk.Write(ctx, make([]byte, 512), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v", err)
	}
	if err := b.disk.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush: %v", err)
	}
	if s := b.disk.Stats(); s.Requests != 0 {
		t.Errorf("%d requests were begun", s.Requests)
	}
}

// TestAdmitWaits: for a request, and for memory, until there is one, the context
// ends or the disk is closed.
func TestAdmitWaits(t *testing.T) {
	op := Op{Kind: Read, Length: 64 << 10}
	for _, row := range []struct {
		name string
		cfg  Config
	}{
		{"for a request", Config{Depth: 1}},
		{"for memory", Config{Depth: 3, MaxRequest: 64 << 10, FailNormal: func() bool { return true }}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBed(t, bedConfig{disk: row.cfg})
			held, err := b.disk.Admit(b.ctx(), op)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := b.disk.TryAdmit(op); ok {
				t.Error("TryAdmit had what is not there")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			if _, err := b.disk.Admit(ctx, op); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("context: %v", err)
			}
			cancel()

			admitted := make(chan error, 1)
			go func() {
				r, err := b.disk.Admit(context.Background(), op)
				if err == nil {
					r.Release()
				}
				admitted <- err
			}()
			select {
			case err := <-admitted:
				t.Fatalf("did not wait: %v", err)
			case <-time.After(5 * time.Millisecond):
			}
			held.Release()
			if err := <-admitted; err != nil {
				t.Errorf("after Release: %v", err)
			}

			if held, err = b.disk.Admit(b.ctx(), op); err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := b.disk.Admit(context.Background(), op)
				admitted <- err
			}()
			select {
			case err := <-admitted:
				t.Fatalf("did not wait: %v", err)
			case <-time.After(5 * time.Millisecond):
			}
			if err := b.disk.Close(); err != nil {
				t.Error(err)
			}
			if err := <-admitted; !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
			held.Segments()
			held.Release() // only now is the memory given back
		})
	}
}

// TestCloseFailsWhatIsPending: in flight, waiting for the window, and ordered.
func TestCloseFailsWhatIsPending(t *testing.T) {
	b := newBed(t, bedConfig{disk: Config{Window: 1}})
	b.sw.Cut(ours, theirs)
	var ended sync.WaitGroup
	for i := range 20 {
		ended.Go(func() {
			if _, err := b.disk.WriteAt(make([]byte, 8192), int64(i)*4096); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	b.until("all are submitted", func() bool { return b.disk.Stats().Requests == 20 })
	if err := b.disk.Close(); err != nil {
		t.Error(err)
	}
	ended.Wait()
}

// TestSubmitAfterClose: an admitted request that comes too late ends in Submit.
func TestSubmitAfterClose(t *testing.T) {
	b := newBed(t, bedConfig{})
	r, err := b.disk.Admit(b.ctx(), Op{Kind: Read, Length: 512})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.disk.Close(); err != nil {
		t.Fatal(err)
	}
	called := 0
	r.Submit(func(r *Request) {
		called++
		if !errors.Is(r.Err(), net.ErrClosed) || r.Segments() != nil && len(r.Segments()) != 0 {
			t.Errorf("error %v, %d segments", r.Err(), len(r.Segments()))
		}
		r.Release()
	})
	if called != 1 {
		t.Errorf("the callback was called %d times", called)
	}
}

// TestLinkIsClosedUnderneath: the disk ends, and says why.
func TestLinkIsClosedUnderneath(t *testing.T) {
	b := newBed(t, bedConfig{})
	b.target.Change(func(c *initiatortest.Config) { c.Faults.Silent = true })
	read := make(chan error, 1)
	go func() {
		_, err := b.disk.ReadAt(make([]byte, 512), 0)
		read <- err
	}()
	b.until("the read is in flight", func() bool { return b.disk.Stats().InFlight == 1 })
	b.port.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	b.until("the disk says so", func() bool { s := b.disk.State(); return s.Condition == Closed && s.Why != "" })
	if _, err := b.disk.ReadAt(make([]byte, 512), 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after that: %v", err)
	}
}

// TestRequestMisuseIsDetected: who owns a request is checked.
func TestRequestMisuseIsDetected(t *testing.T) {
	b := newBed(t, bedConfig{target: initiatortest.Config{Faults: initiatortest.Faults{Delay: 20 * time.Millisecond}}})
	mustPanic := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	r, err := b.disk.Admit(b.ctx(), Op{Kind: Read, Length: 512})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	mustPanic("no callback", func() { r.Submit(nil) })
	r.Submit(func(*Request) { ended <- true })
	mustPanic("submitted twice", func() { r.Submit(func(*Request) {}) })
	mustPanic("released in flight", r.Release)
	<-ended
	mustPanic("submitted again", func() { r.Submit(func(*Request) {}) })
	r.Release()
	mustPanic("released twice", r.Release)
}

// TestOperationsThatAreRefused: before anything is reserved.
func TestOperationsThatAreRefused(t *testing.T) {
	b := newBed(t, bedConfig{target: initiatortest.Config{NoTrim: true, NoFlush: true}})
	for _, row := range []struct {
		op  Op
		err error
	}{
		{Op{Kind: Read, Offset: 1, Length: 512}, ErrUnaligned},
		{Op{Kind: Read, Length: 511}, ErrUnaligned},
		{Op{Kind: Read, Length: 0}, ErrRange},
		{Op{Kind: Read, Length: -512}, ErrRange},
		{Op{Kind: Read, Offset: -512, Length: 512}, ErrRange},
		{Op{Kind: Write, Offset: 1 << 20, Length: 512}, ErrRange},
		{Op{Kind: Write, Offset: 1<<63 - 512, Length: 512}, ErrRange},
		{Op{Kind: Write, Length: 256 << 10}, ErrTooLong},
		{Op{Kind: Flush, Length: 512}, ErrRange},
		{Op{Kind: Trim, Length: 512}, errors.ErrUnsupported},
		{Op{}, nil},
	} {
		r, err := b.disk.Admit(b.ctx(), row.op)
		if r != nil || err == nil || row.err != nil && !errors.Is(err, row.err) {
			t.Errorf("%+v: %v, want %v", row.op, err, row.err)
		}
		if _, ok := b.disk.TryAdmit(row.op); ok {
			t.Errorf("%+v: TryAdmit admits it", row.op)
		}
	}
	if err := b.disk.Trim(b.ctx(), 0, 512); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("trim: %v", err)
	}
	// A disk without a write cache has nothing to flush.
	if err := b.disk.Flush(b.ctx()); err != nil {
		t.Errorf("flush: %v", err)
	}
	if s := b.target.Seen(); s.Flushes != 0 {
		t.Error("a flush was sent to a disk that does not know it")
	}
}
