// Package conf reads the file of aoe serve --config: which disks are served, how,
// and on which interfaces. It opens nothing but the file.
//
// # Format
//
// One thing a line, in the words of the command line:
//
//	# what stands behind a # is not read
//	interface eth1 eth2
//	default buffers=128 wire-edits=none
//	disk e1.1 /srv/one.img
//	disk e1.2 /dev/sdb read-only mask=02:00:00:00:00:0a,02:00:00:00:00:0b
//	disk e1.3 "/srv/with a space.img" mode=flush offset=1M length=512M
//
// A default holds for the disks below it. A path that is not absolute begins at
// the directory of the file. Double quotes keep a word together; inside, and
// outside, a backslash takes the meaning from the next character.
//
// It is a format of our own, because it is the command line in a file: a disk is
// one line to add, to remove, to find with grep and to write with printf, as it
// is for vblade, and every mistake has a line, also one in what a word means,
// where the libraries of TOML and YAML tell of lines only for mistakes in their
// own grammar.
package conf
