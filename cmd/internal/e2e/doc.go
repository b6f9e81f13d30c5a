// Package e2e tests the whole product from outside: the binary, as processes,
// on network hosts of its own (two namespaces and a cable), against itself and
// against the peers that people use: vblade, aoetools, tshark, fio.
//
// The tests need root and say so when skipped. AOE_LONG=1 makes them as long as
// the claims they back: 60 s of fio, a cable out for 10 s.
package e2e
