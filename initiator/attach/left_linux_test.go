package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A madeUp is a block layer in a directory: what the kernel shows of devices, and
// what becomes of it when they are ended.
type madeUp struct {
	t     *testing.T
	root  string
	ublk  map[uint32]ublkInfo
	does  []string // with what was asked
	old   bool     // no DEL_DEV_ASYNC
	ended chan struct{}
}

func (m *madeUp) layer() blockLayer { return blockLayer{m.root, m.control, m.disconnect} }

func (m *madeUp) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *madeUp) addUblk(id uint32, state ublkState, mark uint64) {
	m.ublk[id] = ublkInfo{id: id, state: state, mark: mark}
	m.write(fmt.Sprintf("sys/class/ublk-char/ublkc%d/dev", id), "241:0\n")
}

func (m *madeUp) control(op, id uint32, _ uint64, b []byte) error {
	info, ok := m.ublk[id]
	if !ok {
		return unix.ENODEV
	}
	switch op {
	case ublkGetDevInfo:
		info.put(b)
		return nil
	case ublkStopDev:
		m.does = append(m.does, fmt.Sprintf("stop %d", id))
		return nil
	case ublkDelDevAsync:
		if m.old {
			return unix.EOPNOTSUPP
		}
	case ublkDelDev:
		defer close(m.ended)
	default:
		return fmt.Errorf("command %#x was not expected", op)
	}
	m.does = append(m.does, fmt.Sprintf("delete %d", id))
	delete(m.ublk, id)
	return os.RemoveAll(filepath.Join(m.root, fmt.Sprintf("sys/class/ublk-char/ublkc%d", id)))
}

func (m *madeUp) disconnect(index int) error {
	backend := filepath.Join(m.root, fmt.Sprintf("sys/block/nbd%d/backend", index))
	if _, err := os.Stat(backend); err != nil {
		return unix.EINVAL
	}
	m.does = append(m.does, fmt.Sprintf("disconnect %d", index))
	return os.Remove(backend)
}

// TestLeftDevices: a disk's devices are found and ended, and nobody else's.
func TestLeftDevices(t *testing.T) {
	ours, others := Info{Name: "e1.1", Serial: "lab-1"}, Info{Name: "e1.1", Serial: "lab-2"}
	for _, old := range []bool{false, true} {
		m := &madeUp{t: t, root: t.TempDir(), ublk: map[uint32]ublkInfo{}, old: old, ended: make(chan struct{})}
		m.write("sys/block/nbd0/backend", nbdBackend(others)+"\n")
		m.write("sys/block/nbd3/backend", nbdBackend(ours)+"\n")
		m.write("sys/block/nbd4/size", "0\n") // nobody's
		m.addUblk(0, ublkDead, ublkMark(others))
		m.addUblk(12, 2, ublkMark(ours)) // quiesced: its process died
		m.write("sys/class/ublk-char/ublkc5/dev", "241:5\n")
		k := m.layer()
		found, err := k.left(ours)
		if want := []string{"/dev/nbd3", "/dev/ublkb12"}; err != nil || !slices.Equal(found, want) {
			t.Fatalf("found %v, %v; want %v", found, err, want)
		}
		if err := k.end(ours); err != nil {
			t.Fatal(err)
		}
		if old {
			<-m.ended
		}
		if got, want := strings.Join(m.does, ", "), "disconnect 3, stop 12, delete 12"; got != want {
			t.Errorf("did %s; want %s", got, want)
		}
		if found, err := k.left(ours); err != nil || len(found) > 0 {
			t.Errorf("still there: %v, %v", found, err)
		}
		if err := k.end(ours); err != nil {
			t.Errorf("once more: %v", err)
		}
		if found, err := k.left(others); err != nil || len(found) != 2 {
			t.Errorf("the other's are %v, %v", found, err)
		}
	}
}

// TestLeftDeviceThatStays is told of.
func TestLeftDeviceThatStays(t *testing.T) {
	ours := Info{Name: "e1.1", Serial: "lab-1"}
	m := &madeUp{t: t, root: t.TempDir(), ublk: map[uint32]ublkInfo{}}
	m.write("sys/block/nbd3/backend", nbdBackend(ours)+"\n")
	m.addUblk(1, 2, ublkMark(ours))
	k := m.layer()
	k.disconnect = func(int) error { return unix.EPERM }
	if err := k.end(ours); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "/dev/nbd3") {
		t.Errorf("%v", err)
	}
	if left, err := k.left(ours); err != nil || !slices.Equal(left, []string{"/dev/nbd3"}) {
		t.Errorf("the other way's device was not ended for that: %v, %v", left, err)
	}
}
