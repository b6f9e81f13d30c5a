// Package open opens a link without saying of which kind: the best one that the
// platform has, or one chosen by its name.
//
//	l, err := open.Open("eth0")
package open
