package target_test

import (
	"encoding/json"
	"strings"
	"testing"

	"aoe/target"
	"aoe/target/store"
)

// Every mode is known by its name, in JSON too, and the first two by what they
// were called at first.
func TestModesHaveNames(t *testing.T) {
	for name, want := range map[string]target.Mode{
		"sync": target.ModeSync, "flush": target.ModeFlush, "direct": target.ModeDirect,
		"write-through": target.ModeSync, "write-back": target.ModeFlush,
	} {
		m, err := target.ParseMode(name)
		if err != nil || m != want {
			t.Errorf("%s is %v, %v; want %v", name, m, err, want)
		}
		b, err := json.Marshal(m)
		var back target.Mode
		if err := json.Unmarshal(b, &back); err != nil || back != m {
			t.Errorf("%s became %s and then %v, %v", m, b, back, err)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := target.ParseMode("fast"); err == nil || !strings.Contains(err.Error(), "sync, flush, direct") {
		t.Errorf("a mode that there is not: %v", err)
	}
}

// Direct is a promise about the store, which only the store can make.
func TestModeDirectNeedsADirectStore(t *testing.T) {
	s, err := target.New(target.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.AddDisk(target.Disk{Addr: e11, Store: store.Memory(1 << 20), Mode: target.ModeDirect})
	if err == nil || !strings.Contains(err.Error(), "store.Config.Direct") {
		t.Errorf("memory served in mode direct: %v", err)
	}
}
