package store

// SnapshotOn is Snapshot with a layer that is not a file, which make is told the
// size of.
func SnapshotOn(base Store, make func(size int64) Prompt) (Store, error) {
	s, err := newSnapshot(SnapshotConfig{Base: base, Path: "layer"})
	if err != nil {
		return nil, err
	}
	s.layer, s.path = make(s.data+s.size), "layer"
	return s, s.begin()
}
