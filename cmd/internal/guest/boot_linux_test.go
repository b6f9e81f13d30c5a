package guest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"aoe/cmd/internal/exit"
)

// prepare is a kernel to boot, or a skip with what is missing.
func prepare(t *testing.T) *Kernel { return prepareKernel(t, DefaultKernel) }

// prepareKernel is prepare for a series of kernels. AOE_BINARY, if it is set, is the
// static aoe to use, so that it is not built for every test.
func prepareKernel(t *testing.T, series string) *Kernel {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine in QEMU: run without -short")
	}
	k, err := Prepare(t.Context(), Source{Kernel: series, Binary: os.Getenv("AOE_BINARY"), Tell: func(s string) { t.Log(s) }})
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestBoot: a machine boots, finds its disk on the network, and its script's
// status is what Run returns; a SysRq command is answered by its kernel.
func TestBoot(t *testing.T) {
	k := prepare(t)
	asked := false
	m := Machine{
		Modules: []string{"nbd", "no_such_module"},
		Script:  "aoe discover -i eth0 || exit 1\nlsmod\necho 'guest: wait' >/dev/kmsg\nread line </dev/console\nexit 7\n",
	}
	m.Watch = func(line string, c *Control) {
		switch said, _ := Said(line); {
		case said == "wait":
			if err := c.SysRq('m'); err != nil {
				t.Errorf("SysRq: %v", err)
				c.Stop()
			}
		case strings.Contains(line, "sysrq: Show Memory"):
			asked = true
		case asked && strings.Contains(line, "pages hwpoisoned"): // the last line of the answer
			if _, err := c.keys.Write([]byte("\n")); err != nil {
				t.Errorf("type: %v", err)
			}
		}
	}
	out, err := k.Run(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if out.End != Exited || out.Status != 7 || !asked {
		t.Errorf("ended with %s and status %d, asked %v, want exit, 7 and true\n%s", out.End, out.Status, asked, out.Serial)
	}
	log := string(out.Serial)
	for _, want := range []string{"e1.1  0.536GB  eth0", "virtio_net", "nbd"} {
		if !strings.Contains(log, want) {
			t.Errorf("nothing of %q in\n%s", want, log)
		}
	}
	if len(out.NoModule) != 1 || out.NoModule[0] != "no_such_module" {
		t.Errorf("missing modules are %v", out.NoModule)
	}
}

// TestPanic: a kernel that gives up is told from one whose script ends.
func TestPanic(t *testing.T) {
	k := prepare(t)
	out, err := k.Run(t.Context(), Machine{Disks: -1, Script: "echo c >/proc/sysrq-trigger\n"})
	if err != nil {
		t.Fatal(err)
	}
	if out.End != Panicked {
		t.Errorf("ended with %s\n%s", out.End, out.Serial)
	}
}

// TestSmallMachineIsLeftAlive: aoe attach --swap-safe refuses a machine that has too
// little memory for it, and it goes on. It took the last page there was, and then
// "System is deadlocked on memory".
func TestSmallMachineIsLeftAlive(t *testing.T) {
	k := prepare(t)
	out, err := k.Run(t.Context(), Machine{
		MemoryBytes: 96 << 20,
		Script: `aoe attach -i eth0 --via ublk --swap-safe e1.1
status=$?
sh -c sync && echo 'it lives'
exit $status
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.End != Exited || out.Status != int(exit.Failed) {
		t.Errorf("ended with %s and status %d, want exit and %d", out.End, out.Status, exit.Failed)
	}
	log := string(out.Serial)
	for _, want := range []string{"not enough memory to back it", "needed besides", "it lives"} {
		if !strings.Contains(log, want) {
			t.Errorf("nothing of %q in\n%s", want, log)
		}
	}
}
