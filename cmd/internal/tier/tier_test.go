package tier

import (
	"strings"
	"testing"
)

// TestTierClaimsNoMore: one fact less is a tier less, whatever else is there.
func TestTierClaimsNoMore(t *testing.T) {
	t1 := Facts{Ring: true, Filter: TagFilter, ArenaLocked: true, ProcessLocked: true, IOFlusher: true}
	with := func(f Facts, set func(*Facts)) Facts { set(&f); return f }
	for _, row := range []struct {
		facts   Facts
		want    string
		missing string
	}{
		{Facts{}, "T0", "ring"},
		{t1, "T1", "--guard"},
		{with(t1, func(f *Facts) { f.Ring = false }), "T0", "--link ring"},
		{with(t1, func(f *Facts) { f.Guard, f.Memalloc = true, true }), "T1", "--link xdp"},
		{with(t1, func(f *Facts) { f.Guard, f.Memalloc, f.XDP = true, true, true }), "T2", "zero-copy"},
		{with(t1, func(f *Facts) { f.XDP = true }), "T1", "--guard"},
		{with(t1, func(f *Facts) { f.Filter = ClassicFilter }), "T0", "knows the tags"},
		{with(t1, func(f *Facts) { f.ArenaLocked = false }), "T0", "--lock"},
		{with(t1, func(f *Facts) { f.ProcessLocked = false }), "T0", "CAP_IPC_LOCK"},
		{with(t1, func(f *Facts) { f.IOFlusher = false }), "T0", "CAP_SYS_RESOURCE"},
		{with(t1, func(f *Facts) { f.Guard = true }), "T2", "zero-copy"},
		{with(t1, func(f *Facts) { f.Guard, f.IOFlusher = true, false }), "T0", "CAP_SYS_RESOURCE"},
		{with(t1, func(f *Facts) { f.ZeroCopy = true }), "T1", "--guard"},
		{with(t1, func(f *Facts) { f.Guard, f.ZeroCopy = true, true }), "T3", ""},
	} {
		got := Of(row.facts)
		if got.Name != row.want || got.Is == "" || got.Guarantees == "" || got.Not == "" {
			t.Errorf("%+v: %+v, want %s", row.facts, got, row.want)
		}
		if all := strings.Join(got.Missing, "; "); !strings.Contains(all, row.missing) || row.missing == "" && all != "" {
			t.Errorf("%+v lacks %q, want %q", row.facts, all, row.missing)
		}
	}
}
