package target_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"aoe/frame"
	"aoe/target"
	"aoe/target/store"
)

// small mounts a file system with room for about a mebibyte and a half.
func small(t *testing.T, kind string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs to mount file systems: run as root")
	}
	dir := t.TempDir()
	args := []string{"-t", "tmpfs", "-o", "size=1536k", "aoe-test", dir}
	if kind == "ext4" {
		if _, err := exec.LookPath("mkfs.ext4"); err != nil {
			t.Skip("needs mkfs.ext4: apt-get install e2fsprogs")
		}
		image := filepath.Join(t.TempDir(), "fs.img")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		truncate(t, image, 2<<20)
		if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", image).CombinedOutput(); err != nil {
			t.Fatalf("mkfs.ext4: %v: %s", err, out)
		}
		args = []string{"-o", "loop", image, dir}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("needs to mount a %s (modprobe loop): %v: %s", kind, err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// sparse serves a sparse file of 8 MiB in dir.
func sparse(t *testing.T, dir string, mode target.Mode) *rig {
	t.Helper()
	p := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	truncate(t, p, 8<<20)
	st, err := store.Open(store.Config{Path: p, Direct: mode == target.ModeDirect})
	if err != nil && strings.Contains(err.Error(), "no direct I/O") {
		t.Skip("needs direct I/O on tmpfs, Linux 6.6")
	} else if err != nil {
		t.Fatal(err)
	}
	return serve(t, target.Config{Watch: -1}, 1, target.Disk{Addr: e11, Store: st, Mode: mode})
}

// fail writes block after block until one fails, as a disk fails, and returns
// how many did not.
func (r *rig) fail() (n int) {
	r.t.Helper()
	for ; n < 1024; n++ {
		f := r.ask(r.write(e11, uint64(n)*16, sectors(16, byte(n%200+1))))
		if a, _ := ataOf(r.t, f); a.Status()&frame.StatusFault != 0 {
			wantFail(r.t, f, frame.ErrorABRT)
			return n
		}
	}
	r.t.Fatal("8 MiB were written where there is no room for them")
	return n
}

// TestH18FullFileSystem: a sparse file on a file system that is full. A write
// that finds no room fails, everything else goes on, and so do writes when
// something was trimmed.
func TestH18FullFileSystem(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		for _, mode := range []target.Mode{target.ModeSync, target.ModeFlush, target.ModeDirect} {
			t.Run(kind+"/"+mode.String(), func(t *testing.T) {
				r := sparse(t, small(t, kind), mode)
				n := r.fail()
				if n < 16 {
					t.Fatalf("only %d blocks of 8 KiB fit", n)
				}
				for i := range n {
					wantData(t, r.ask(r.read(e11, uint64(i)*16, 16)), sectors(16, byte(i%200+1)))
				}
				wantOK(t, r.ask(r.write(e11, 0, sectors(16, 7)))) // there is room for that
				wantOK(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)))
				wantOK(t, r.ask(r.trim(e11, frame.TrimRange{LBA: 0, Sectors: uint16(n/2) * 16})))
				wantOK(t, r.ask(r.ata(e11, frame.OpFlush, 0, 0, nil)))
				wantOK(t, r.ask(r.write(e11, uint64(n)*16, sectors(16, 9))))
				wantData(t, r.ask(r.read(e11, uint64(n)*16, 16)), sectors(16, 9))
				st := r.stats(e11)
				if st.WriteErrors != 1 || !strings.HasSuffix(st.Broken, unix.ENOSPC.Error()) || st.Failed != "" {
					t.Errorf("%d write errors, broken %q, failed %q; want 1, %q, none", st.WriteErrors, st.Broken, st.Failed, unix.ENOSPC)
				}
				r.close()
			})
		}
	}
}

// TestH18FileSizeLimit: writing beyond what the process may (ulimit -f) fails,
// and the signal that comes with it does not end the target.
func TestH18FileSizeLimit(t *testing.T) {
	r := sparse(t, t.TempDir(), target.ModeSync)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1<<20 + 1000, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	wantOK(t, r.ask(r.write(e11, 2048-16, sectors(16, 1))))
	wantFail(t, r.ask(r.write(e11, 2048, sectors(16, 2))), frame.ErrorABRT) // the first part fits
	wantFail(t, r.ask(r.write(e11, 4096, sectors(16, 2))), frame.ErrorABRT)
	wantData(t, r.ask(r.read(e11, 2048-16, 16)), sectors(16, 1))
	if st := r.stats(e11); st.WriteErrors != 2 || !strings.HasSuffix(st.Broken, unix.EFBIG.Error()) {
		t.Errorf("%d write errors, %q; want 2, %q", st.WriteErrors, st.Broken, unix.EFBIG)
	}
}

// TestH16ShrunkenFileRefuses: what is behind the new end is not there any more,
// once the server has noticed.
func TestH16ShrunkenFileRefuses(t *testing.T) {
	p := image(t, 1<<20)
	st, err := store.Open(store.Config{Path: p})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, target.Config{Watch: 1}, 1, target.Disk{Addr: e11, Store: st})
	truncate(t, p, 64<<10+100)
	r.announced(r.tap)
	wantOK(t, r.ask(r.write(e11, 127, sectors(1, 1))))
	wantFail(t, r.ask(r.write(e11, 127, sectors(2, 1))), frame.ErrorIDNF)
	wantFail(t, r.ask(r.read(e11, 128, 1)), frame.ErrorIDNF)
	if s, err := os.Stat(p); err != nil || s.Size() != 64<<10+100 {
		t.Errorf("the file has %d bytes (%v): want what was left", s.Size(), err)
	}
}
