// Package lab runs the whole path in one process, on networks of its own: a
// target and an attached disk on two hosts, which are anonymous network
// namespaces joined by a veth pair, so that no interface of the machine is
// touched and nothing is left when the process dies.
//
// # Usage
//
// [Newcomer] is the run of `aoe lab` without a command: a list of steps, each a
// value with a name, which share one [Bench]. [Captive] runs a command of the
// user's against an attached disk.
package lab
