package store

// Changing is how many changes are under way, and how many of them the server has
// and did not answer.
func (n *NBD) Changing() (all, sent int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.slots {
		if s := &n.slots[i]; s.state == nbdSent && s.changes() {
			sent++
		}
	}
	return n.group.changing, sent
}
