package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestNBDServerOfAnotherHost: a target serves an export of an NBD server on a
// third host over TCP, under load. The server is killed and started anew; it is
// cut off for a moment; and, with AOE_LONG, for so long that the connection is
// given up and writes wait until the server has certainly forgotten them. No
// write fails, and all that were acknowledged are there.
func TestNBDServerOfAnotherHost(t *testing.T) {
	needRoot(t)
	needProgram(t, "nbdkit", "nbdkit")
	needProgram(t, "ip", "iproute2")
	b, h := newBridgeBed(t, 9000)
	for i, host := range h {
		mustRun(t, host, "ip", "address", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", host.Interface)
	}
	image := b.image(t, 16<<20)
	backend := func() *proc {
		pidFile := filepath.Join(b.dir, "nbdkit.pid")
		os.Remove(pidFile) // of one that was killed
		p := start(t, h[2], "nbdkit", "--foreground", "--ipaddr", "192.0.2.3", "--pidfile", pidFile, "file", image)
		waitFile(t, p, pidFile)
		return p
	}
	nbdkit := backend()
	server := b.serve(t, "nbd://192.0.2.3/", "-v")
	daemon, device := b.attach(t)
	w := newWriters(t, device, 4)
	w.start(t)
	w.progress(t, 100, "before")

	nbdkit.kill(t)
	nbdkit = backend()
	w.progress(t, 100, "the server killed and started anew")

	cut := choose(45*time.Second, time.Second)
	if err := h[2].SetUp(false); err != nil {
		t.Fatal(err)
	}
	time.Sleep(cut) // is what is tested, and not waited for
	if long() {
		server.waitFor(t, `the NBD server is away`)
	}
	if err := h[2].SetUp(true); err != nil {
		t.Fatal(err)
	}
	w.progress(t, 100, fmt.Sprintf("the server cut off for %v", cut))
	if long() {
		server.waitFor(t, `the store answers again`)
	}
	w.stop()
	w.verify(t, device)
	daemon.stop(t)
	server.stop(t)
	// It would not always end by itself: it waits for the connection that was given
	// up while it was cut off, and hears of that only when it has something to send.
	nbdkit.kill(t)
	t.Logf("%d writes acknowledged, all found", w.done.Load())
}
