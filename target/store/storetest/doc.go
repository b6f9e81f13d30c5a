// Package storetest is for tests of stores and of what is built on them: the
// suite that every store.Store passes ([Conform]), a store that fails and takes
// its time when told to ([Fault]), and one whose power fails in the middle of a
// call and that then has forgotten some of what was not synced ([Crash]).
//
// All chance comes from one seed, which the caller prints, so that a failure
// replays as far as the caller's goroutines do.
package storetest
