// Package experiments are the questions that the lab answers about policies
// against deadlock, each with a hypothesis, a criterion and a verdict that the
// run itself computes, and the report in which they can be read.
//
// An experiment is one file: a function that returns an [Experiment], and its
// line in [All]. What it finds it writes into a [Result]; it prints nothing.
// Experiments that search are exhaustive and know no seeds; those that walk take
// theirs from [Options], and the same seeds give the same result. Those that are
// measured on the machine they run on say what they cost, and are run only by name.
package experiments
