package model

import (
	"fmt"
	"strings"
)

// A GoldenRow is one line of the table that the design was built on.
type GoldenRow struct {
	Policy Policy
	States int
	Dead   int
	Way    string // a shortest way to die, as [Verdict.Ways] writes it
}

// GoldenPages is the memory of the golden table's machine.
const GoldenPages = 4

// Golden is the table that the design was built on, by another program: what
// the search must find, for a flood into sockets that are never read.
func Golden() []GoldenRow {
	mempool := Policy{Transmit: 1}
	pool := func(receive, transmit int, drop bool) Policy {
		return Policy{Transmit: transmit, Store: Shared(receive), DropForeign: drop}
	}
	separate := func(receive, limit int, exempt bool) Policy {
		return Policy{Transmit: 1, Order: SetAsideOnly, Store: Shared(receive), Limit: limit, Exempt: exempt}
	}
	filter := func(transmit int) Policy {
		return Policy{Transmit: transmit, Order: FilterFirst, Store: Shared(1)}
	}
	offList := pool(2, 1, true)
	offList.OffList = true
	rows := []GoldenRow{
		{Policy{}, 85, 29, "dirty x4"},
		{mempool, 86, 30, "dirty x4"},
		{Policy{Throttle: 2}, 66, 17, "dirty x2, flood x2"},
		{Policy{Throttle: 1}, 41, 8, "dirty, flood x3"},
		{pool(2, 1, false), 652, 90, "dirty x4, flood x2"},
		{pool(1, 0, true), 209, 20, "dirty x4"},
		{pool(1, 1, true), 212, 0, ""},
		{separate(2, 0, false), 126, 42, "dirty, flood x2"},
		{separate(3, 2, false), 216, 66, "dirty, flood x3"},
		{separate(3, 2, true), 216, 0, ""},
		{offList, 354, 140, "dirty x4"},
		{filter(1), 105, 0, ""},
		{filter(0), 103, 10, "dirty x4"},
	}
	titles := []string{
		"no reserve", "transmit pool only", "throttle: dirty <= 2", "throttle: dirty <= 1",
		"receive pool 2 + transmit pool, no drop", "receive 1 + early drop, no transmit pool",
		"receive 1 + early drop + transmit 1", "separate network allocator, 2 frames, no limit",
		"the same, 3 frames, limit 2 on every socket", "the same, critical sockets exempt from the limit",
		"Linux: reserve + drop, but AoE not on its list of protocols",
		"filter before allocation + transmit 1", "filter before allocation, no transmit pool",
	}
	for i := range rows {
		rows[i].Policy.Title = titles[i]
	}
	return rows
}

// Ways is a path in short: "dirty x4, flood x2".
func Ways(path []Step[State]) string {
	var words []string
	for i := 0; i < len(path); {
		n := i
		for n < len(path) && path[n].Event == path[i].Event {
			n++
		}
		if n-i == 1 {
			words = append(words, string(path[i].Event))
		} else {
			words = append(words, fmt.Sprintf("%s x%d", path[i].Event, n-i))
		}
		i = n
	}
	return strings.Join(words, ", ")
}
