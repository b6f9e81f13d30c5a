// Package reserve is memory for frames that cannot run out: a fixed arena that
// carries the work on when ordinary allocation fails, and the rules by which it
// is shared so that whoever begins can finish.
package reserve
