package attach_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"aoe/initiator/attach"
	"aoe/initiator/attach/attachtest"
)

// TestI9DataIsTakenOnlyWithAWayToCleanIt: "Nothing becomes dirty before a way to
// clean it is reserved." Here that is: while a write is not admitted, its data
// stays where it is, with the client. The server takes none of it, so it fills
// the socket and the client has to wait; when something can be admitted, the
// write goes on where it stood.
func TestI9DataIsTakenOnlyWithAWayToCleanIt(t *testing.T) {
	noLeaks(t)
	const length = 8 << 20 // far more than a socket holds
	disk := newDisk(t, attachtest.Config{Size: 16 << 20, Requests: 1, Poison: true})
	_, socket := serveNBD(t, attach.NBDConfig{Disk: disk})

	// All that the disk can admit is held by a read.
	first := dialNBD(t, socket, false)
	disk.Hold()
	read := first.request(cmdRead, 0, 0, 4096, nil)
	if !disk.WaitInFlight(1, testTimeout) {
		t.Fatal("not in flight")
	}

	writer := dialNBD(t, socket, false)
	data := pattern(9, length)
	said := append(nbdRequest(cmdWrite, 0, 77, 1<<20, length), data...)
	// Nothing announces that a server does not read: the deadline is how long
	// it has the chance to do so.
	writer.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	taken, err := writer.conn.Write(said)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the server took %d of %d bytes of a write that it had not admitted (%v)", taken, len(said), err)
	}
	if n := disk.Admitted(); n != 1 {
		t.Errorf("%d requests admitted, want only the read", n)
	}

	disk.Resume()
	if a := first.answer(make([]byte, 4096), 0); a.cookie != read || a.errno != 0 {
		t.Errorf("the read ended with %+v", a)
	}
	writer.conn.SetWriteDeadline(time.Now().Add(testTimeout))
	if _, err := writer.conn.Write(said[taken:]); err != nil {
		t.Fatal(err)
	}
	if a := writer.answer(nil, 0); a.cookie != 77 || a.errno != 0 {
		t.Errorf("the write ended with %+v", a)
	}
	if !bytes.Equal(disk.Content()[1<<20:][:length], data) {
		t.Error("the disk does not hold what was written")
	}
}
