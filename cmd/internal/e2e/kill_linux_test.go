package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ext4 makes a file system of n bytes on a loop device and returns where it is
// mounted.
func ext4(t *testing.T, b *bed, n int64) string {
	t.Helper()
	needProgram(t, "mkfs.ext4", "e2fsprogs")
	image, dir := filepath.Join(b.dir, "fs.img"), filepath.Join(b.dir, "fs")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, n); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mustRun(t, b.target, "mkfs.ext4", "-q", image)
	mustRun(t, b.target, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// launch starts our target without asking whether it answers: the load does.
func (b *bed) launch(t *testing.T, path string, more ...string) *proc {
	t.Helper()
	args := append([]string{"serve", "-i", b.target.Interface, "--serial", "load"}, more...)
	p := start(t, b.target, binary, append(args, "e1.1", path)...)
	p.waitFor(t, `(?m)^(on )`)
	return p
}

// TestH17KilledOnExt4: kill -9 of the target at random moments under a load of
// writes, on a file on ext4 on a loop device: what was acknowledged is in the
// file, in every mode, and the initiator carries on with the next target.
func TestH17KilledOnExt4(t *testing.T) {
	const seed = 17
	rng := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for _, mode := range []string{"sync", "direct", "flush"} {
		t.Run(mode, func(t *testing.T) {
			b := newBed(t, 9000)
			path := filepath.Join(ext4(t, b, 64<<20), "disk.img")
			if err := os.WriteFile(path, make([]byte, loadBytes), 0o600); err != nil {
				t.Fatal(err)
			}
			server := b.launch(t, path, "--mode", mode)
			l := b.startLoad(t, mode == "flush")
			for range choose(7, 2) {
				l.await(t, 1+rng.IntN(400))
				// A kill leaves the page cache alone: even what was not
				// flushed is there.
				promised := l.promised(false)
				server.kill(t)
				image, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if l.check(t, promised, image) == 0 {
					t.Error("nothing was acknowledged before the kill: the test tests nothing")
				}
				kills++
				server = b.launch(t, path, "--mode", mode)
			}
			l.await(t, 100)
			l.end(t)
			server.stop(t)
			image, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			l.check(t, l.promised(false), image)
			if out := server.output(); strings.Contains(out, "level=ERROR") {
				t.Errorf("the last target said: %s", out)
			}
		})
	}
	t.Logf("seed %d: %d kills, nothing acknowledged lost", seed, kills)
}
