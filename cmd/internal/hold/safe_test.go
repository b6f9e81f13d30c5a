package hold

import (
	"testing"
	"time"

	"aoe/initiator"
	"aoe/reserve"
	"aoe/target"
)

// TestRehearsal does what is asked of it, soon, and leaves nothing.
func TestRehearsal(t *testing.T) {
	_, _, port := segment(t, target.ModeSync)
	began := time.Now()
	if err := rehearse(t.Context(), initiator.Config{Link: port}); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v", time.Since(began))
	if err := port.Close(); err != nil {
		t.Error(err)
	}
}

// TestPressureThereAndBack: an early warning makes the disk crunch, its end and
// some work bring it back, and the status shows both directions. Requests are
// answered all the way.
func TestPressureThereAndBack(t *testing.T) {
	_, _, port := segment(t, target.ModeFlush)
	h, err := Attach(t.Context(), config(t, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	p := make([]byte, 4096)
	read := func() {
		t.Helper()
		if _, err := h.Disk().Read(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
	}
	look := func() reserve.Stats { return h.Status().Stats.Reserve }
	read()
	if st := look(); st.Regime != reserve.Normal || st.Pressure || st.ToCrunch != 0 {
		t.Errorf("before: %+v", st)
	}
	h.setPressure(true)
	read()
	if st := look(); st.Regime != reserve.Crunch || !st.Pressure || st.ToCrunch != 1 || st.ToNormal != 0 || st.FromReserve == 0 {
		t.Errorf("under pressure: %+v", st)
	}
	h.setPressure(false)
	for range 1000 { // the way back is counted in requests
		if read(); look().Regime == reserve.Normal {
			break
		}
	}
	if st := look(); st.Regime != reserve.Normal || st.Pressure || st.ToCrunch != 1 || st.ToNormal != 1 {
		t.Errorf("after: %+v", st)
	}
	if tier := h.Status().Tier; tier == nil || tier.Name != "T0" {
		t.Errorf("an unhardened process claims %+v", tier)
	}
}
