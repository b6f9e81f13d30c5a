package attach

import "testing"

// TestParseMount: lines as proc_pid_mountinfo(5) shows them, and lines that are
// none.
func TestParseMount(t *testing.T) {
	rows := []struct {
		name string
		line string
		want mount
		ok   bool
	}{
		{"the manual's example", `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`,
			mount{"98:0", "/mnt2", "ext3", "/dev/root"}, true},
		{"no optional field", `36 35 7:3 / /mnt rw - ext4 /dev/loop3 rw`, mount{"7:3", "/mnt", "ext4", "/dev/loop3"}, true},
		{"several optional fields", `36 35 7:3 / /mnt rw shared:1 master:2 unbindable - ext4 /dev/loop3 rw`,
			mount{"7:3", "/mnt", "ext4", "/dev/loop3"}, true},
		{"a space, a tab, a newline and a backslash", `36 35 7:3 / /a\040b\011c\012d\134e rw - fuse.aoe e1.1 rw`,
			mount{"7:3", "/a b\tc\nd\\e", "fuse.aoe", "e1.1"}, true},
		{"a backslash that escapes nothing", `36 35 7:3 / /a\9 rw - ext4 x rw`, mount{"7:3", `/a\9`, "ext4", "x"}, true},
		{"nothing", ``, mount{}, false},
		{"no separator", `36 35 7:3 / /mnt rw ext4 /dev/loop3 rw`, mount{}, false},
		{"cut off behind the separator", `36 35 7:3 / /mnt rw -`, mount{}, false},
		{"cut off in front of the separator", `36 35 - ext4 /dev/loop3 rw`, mount{}, false},
	}
	for _, row := range rows {
		if got, ok := parseMount(row.line); ok != row.ok || got != row.want {
			t.Errorf("%s: %+v, %v", row.name, got, ok)
		}
	}
}
