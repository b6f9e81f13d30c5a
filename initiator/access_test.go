package initiator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/linktest"

	"github.com/mdlayher/aoe"
)

// scripted answers every request on l with what f makes of it, nil for silence,
// until the test ends.
func scripted(t *testing.T, l link.Link, f func(h frame.Header, arg []byte) []byte) {
	ended := make(chan struct{})
	go func() { // ends when l is closed
		defer close(ended)
		bufs := [][]byte{make([]byte, 0, 2000)}
		for {
			buf := bufs[0]
			n, err := l.Recv(bufs, -1)
			if err != nil {
				return
			}
			if n == 1 {
				if h, arg, err := frame.Parse(bufs[0]); err == nil {
					if b := f(h, arg); b != nil {
						l.Send([][]byte{frame.Pad(b)})
					}
				}
			}
			bufs[0] = buf
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
}

// answered begins the answer to h.
func answered(h frame.Header, flags uint8, code aoe.Error) []byte {
	return frame.Header{
		Dst: h.Src, Src: theirs, Flags: frame.FlagResponse | flags, Error: code, Addr: h.Addr, Command: h.Command, Tag: h.Tag,
	}.Append(nil)
}

var someMACs = []frame.MAC{{2, 0, 0, 0, 1, 1}, {2, 0, 0, 0, 1, 2}}

// lists plays a disk that keeps no lists but answers as if.
func lists(h frame.Header, arg []byte) []byte {
	switch h.Command {
	case aoe.CommandMACMaskList:
		m, err := frame.ParseMask(arg)
		if err != nil {
			return answered(h, frame.FlagError, aoe.ErrorBadArgumentParameter)
		}
		b := frame.Mask{Sub: m.Sub, Count: uint8(len(someMACs))}
		if m.Len() > 1 {
			return frame.Mask{Sub: m.Sub, Error: aoe.MACMaskErrorListFull, Count: 1}.Append(answered(h, 0, 0))
		}
		out := b.Append(answered(h, 0, 0))
		for _, mac := range someMACs {
			out = frame.MaskDirective{MAC: mac}.Append(out)
		}
		return out
	case aoe.CommandReserveRelease:
		r, err := frame.ParseReserve(arg)
		if err != nil {
			return answered(h, frame.FlagError, aoe.ErrorBadArgumentParameter)
		}
		if r.Sub == aoe.ReserveReleaseCommandSet {
			return append(answered(h, frame.FlagError, aoe.ErrorTargetIsReserved), arg...)
		}
		out := frame.Reserve{Sub: r.Sub, Count: r.Count}.Append(answered(h, 0, 0))
		for i := range r.Len() {
			out = r.At(i).Append(out)
		}
		return out
	case aoe.CommandIssueATACommand:
		a, data, err := frame.ParseATA(arg)
		if err != nil {
			return nil
		}
		if a.Feature == 0 {
			a.Op, a.Feature = frame.StatusDRDY|frame.StatusErr, frame.ErrorABRT
			return a.Append(answered(h, 0, 0))
		}
		a.Op = frame.StatusDRDY
		return append(a.Append(answered(h, 0, 0)), append(data, make([]byte, 512)...)[:512]...)
	}
	return nil
}

func askedOn(t *testing.T) (link.Link, Target) {
	sw := linktest.NewSwitch(linktest.Config{})
	scripted(t, sw.Port(theirs), lists)
	l := sw.Port(ours)
	t.Cleanup(func() { l.Close() })
	return l, Target{Addr: frame.Addr{Shelf: 1, Slot: 1}, MAC: theirs}
}

func TestMaskList(t *testing.T) {
	l, target := askedOn(t)
	if got, err := MaskList(t.Context(), l, target); err != nil || !slices.Equal(got, someMACs) {
		t.Errorf("read %v, %v", got, err)
	}
	add := frame.MaskDirective{Directive: aoe.DirectiveCommandAdd, MAC: ours}
	if got, err := MaskList(t.Context(), l, target, add); err != nil || !slices.Equal(got, someMACs) {
		t.Errorf("edited %v, %v", got, err)
	}
	_, err := MaskList(t.Context(), l, target, add, add)
	if e, ok := errors.AsType[*MaskError](err); !ok || e.Code != aoe.MACMaskErrorListFull || e.Index != 1 {
		t.Errorf("full list: %v", err)
	}
	if _, err := MaskList(t.Context(), l, target, make([]frame.MaskDirective, 200)...); err == nil {
		t.Error("200 edits fit in a frame of 1500 bytes")
	}
	target.MAC[5]++ // nobody
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := MaskList(ctx, l, target); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestReserveList(t *testing.T) {
	l, target := askedOn(t)
	got, err := ReserveList(t.Context(), l, target, aoe.ReserveReleaseCommandForceSet, someMACs...)
	if err != nil || !slices.Equal(got, someMACs) {
		t.Errorf("force %v, %v", got, err)
	}
	got, err = ReserveList(t.Context(), l, target, aoe.ReserveReleaseCommandForceSet)
	if err != nil || len(got) != 0 {
		t.Errorf("release %v, %v", got, err)
	}
	_, err = ReserveList(t.Context(), l, target, aoe.ReserveReleaseCommandSet, ours)
	if e, ok := errors.AsType[*TargetError](err); !ok || e.Code != aoe.ErrorTargetIsReserved {
		t.Errorf("reserved by another: %v", err)
	}
	if _, err := ReserveList(t.Context(), l, target, aoe.ReserveReleaseCommandSet, make([]frame.MAC, 255)...); err == nil {
		t.Error("255 MACs fit in a frame of 1500 bytes")
	}
}

// TestIssueATA: registers and data arrive as they were sent, an abort is an
// error, and more data than fits is refused.
func TestIssueATA(t *testing.T) {
	l, target := askedOn(t)
	a := frame.NewATA(frame.OpSMART, 0xc24f00, 1)
	a.Feature = 0xd0
	result, data, err := IssueATA(t.Context(), l, target, a, pattern(1, 512), 1)
	if err != nil || result.LBA != 0xc24f00 || !slices.Equal(data, pattern(1, 512)) {
		t.Errorf("%+v, %d bytes, %v", result, len(data), err)
	}
	a.Feature = 0
	_, _, err = IssueATA(t.Context(), l, target, a, nil, 0)
	if e, ok := errors.AsType[*ATAError](err); !ok || e.Reg != frame.ErrorABRT {
		t.Errorf("aborted: %v", err)
	}
	if _, _, err := IssueATA(t.Context(), l, target, a, make([]byte, 5*512), 0); err == nil {
		t.Error("five sectors fit in a frame of 1500 bytes")
	}
}
