package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// aoeLab runs `aoe lab` with args and returns what it printed.
func aoeLab(t *testing.T, args ...string) (string, error) {
	t.Helper()
	needRoot(t)
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"lab"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLabRunsACommandOnAFileSystem is the README's promise: a command, an
// attached disk, and its exit code.
func TestLabRunsACommandOnAFileSystem(t *testing.T) {
	needProgram(t, "mkfs.ext4", "e2fsprogs")
	script := `set -e
		mkfs.ext4 -q "$AOE_DEVICE"
		dir=$(mktemp -d)
		mount "$AOE_DEVICE" "$dir"
		trap 'umount "$dir"; rmdir "$dir"' EXIT
		dd if=/dev/urandom of="$dir/random" bs=1M count=16 status=none
		sync "$dir/random"
		before=$(sha256sum <"$dir/random")
		umount "$dir"; mount "$AOE_DEVICE" "$dir"
		after=$(sha256sum <"$dir/random")
		[ "$before" = "$after" ]`
	if out, err := aoeLab(t, "--", "sh", "-c", script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestLabReturnsTheCommandsExitCode: a lab is as usable in a script as the
// command itself.
func TestLabReturnsTheCommandsExitCode(t *testing.T) {
	for _, code := range []int{0, 7} {
		out, err := aoeLab(t, "--", "sh", "-c", fmt.Sprintf("exit %d", code))
		got := 0
		if exit, ok := err.(*exec.ExitError); ok {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != code {
			t.Errorf("exit code %d, want %d\n%s", got, code, out)
		}
	}
}

// TestH20WithoutMemoryUnderAFlood: every ordinary allocation of the initiator
// fails, and both hosts are flooded with foreign and forged frames: the reserve
// carries the disk, and no block is wrong.
func TestH20WithoutMemoryUnderAFlood(t *testing.T) {
	fioVerifies(t, "--reserve-only", "--flood", "10000", "--seed", "20")
}

// TestFioVerifies: fio writes and verifies every block's checksum, on a perfect
// cable and on one that loses a twentieth of the frames.
func TestFioVerifies(t *testing.T) {
	t.Run("no loss", func(t *testing.T) { fioVerifies(t) })
	t.Run("5 % lost", func(t *testing.T) { fioVerifies(t, "--loss", "0.05", "--seed", "5") })
}

// fioVerifies runs fio with checksums in a lab.
func fioVerifies(t *testing.T, args ...string) {
	t.Helper()
	needProgram(t, "fio", "fio")
	fio := fmt.Sprintf(`exec fio --name=v --filename="$AOE_DEVICE" --direct=1 --ioengine=libaio --iodepth=16`+
		` --rw=randwrite --bs=4k --size=%s --time_based --runtime=%d --verify=crc32c --verify_fatal=1`+
		` --do_verify=1 --verify_backlog=1024 --verify_state_save=0 --output-format=terse`,
		choose("128M", "16M"), choose(60, 3))
	out, err := aoeLab(t, append(args, "--size", "256M", "--", "sh", "-c", fio)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, ";v;0;0;") {
		t.Errorf("fio's terse line does not say error 0:\n%s", out)
	}
}
