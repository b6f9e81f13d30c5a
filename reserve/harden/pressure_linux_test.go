package harden

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPressureOfTheKernel: the kernel takes the trigger, waits, and lets go. That
// it fires takes a machine without memory: that is the guest's to show.
func TestPressureOfTheKernel(t *testing.T) {
	trigger, err := memoryTrigger()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if event, err := trigger.wait(10 * time.Millisecond); event || err != nil {
		t.Logf("an event at once: %v, %v", event, err) // a machine under pressure
		if err != nil {
			t.Error(err)
		}
	}
	p, err := watchPressure(PressureConfig{Tell: func(bool) {}}, trigger)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { p.Stats() }); n != 0 {
		t.Errorf("Stats makes %v allocations", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
