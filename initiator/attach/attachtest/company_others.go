//go:build !linux

package attachtest

// A company is nobody where front ends have no companions.
type company struct{ turns chan struct{} }

func (m *Memory) accompany() {}
func (m *Memory) farewell()  {}
