package model

import "fmt"

// Lineage is every policy of the literature, in order of time, and ours. The
// numbers of frames are as small as makes their faults visible in a machine of
// four pages: a larger reserve of the same kind dies the same death later.
func Lineage() []Policy {
	var all []Policy
	all = append(all, beforeReserves()...)
	all = append(all, of2005()...)
	all = append(all, of2006()...)
	all = append(all, since()...)
	return append(all, OursInTiers()...)
}

// Find is the policy of that name in the lineage.
func Find(name string) (Policy, bool) {
	for _, p := range Lineage() {
		if p.Name == name {
			return p, true
		}
	}
	return Policy{}, false
}

func beforeReserves() []Policy {
	const todo = "Linux, Documentation/admin-guide/aoe/todo.rst: a frame to send may need the page that it is to free"
	return []Policy{
		{
			Name: "none", Title: "no reserve", Source: todo,
			Right: "names the danger of sending", Wrong: "nothing is set aside, neither for sending nor for receiving",
		},
		{
			Name: "throttle-2", Title: "throttle: dirty <= 2", Source: "folklore; vm.dirty_ratio", Throttle: 2,
			Right: "makes it rarer", Wrong: "frames in sockets take what was saved",
		},
		{
			Name: "throttle-1", Title: "throttle: dirty <= 1", Source: "folklore; vm.dirty_ratio", Throttle: 1,
			Right: "makes it rarer still", Wrong: "the same, with one more frame",
		},
	}
}

func of2005() []Policy {
	const march, july, august = "article on network block devices, 2005-03", "comment, 2005-07", "Phillips, net vm deadlock fix, 2005-08"
	phillips := func(name, title, right, wrong string, c Credited) Policy {
		return Policy{
			Name: name, Title: title, Source: august, Right: right, Wrong: wrong,
			Transmit: 1, Store: c, Cap: c.Cap, DropForeign: true, TwoSteps: true,
		}
	}
	return []Policy{
		{
			Name: "mempool", Title: "mempool per socket, for sending", Source: march, Transmit: 1,
			Right: "sending never fails", Wrong: "the reply finds no room",
		},
		{
			Name: "random-one", Title: "Arcangeli: mempool of a random socket, one try", Source: march,
			Transmit: 1, Store: Pools{Count: 2, Frames: 1}, DropForeign: true,
			Right: "a reserve for any frame, given back when it proves foreign", Wrong: "private pools: one is full while another is empty",
		},
		{
			Name: "random-all", Title: "Arcangeli: the same, trying all", Source: march,
			Transmit: 1, Store: Pools{Count: 2, Frames: 1, TryAll: true}, DropForeign: true,
			Right: "as one shared reserve",
		},
		{
			Name: "card-filter", Title: "filter in the network card + transmit 1", Source: march,
			Transmit: 1, Order: FilterFirst, Store: Shared(1),
			Right: "foreign frames never cost memory that was set aside",
		},
		{
			Name: "upfront", Title: "all up front, recyclable", Source: july,
			Claim: 1, Store: Shared(1), DropForeign: true,
			Right: "who begins can finish; the others are pushed back",
		},
		{
			Name: "upfront-page", Title: "all up front, before a page may become dirty", Source: july,
			Claim: 1, PerPage: true, Store: Shared(1), DropForeign: true,
			Right: "nothing becomes dirty that cannot be cleaned",
		},
		phillips("phillips-posted", "Phillips, as posted, frames of 1500", "sizes the reserve; drops at once what is not marked",
			"the estimate gives one page whatever the frames; credit comes back before the memory",
			Credited{Frames: min(2, FramesIn(EstimateAsPosted(50), 1500)), Cap: 1, PerDevice: true}),
		phillips("phillips-jumbo", "Phillips, as posted, frames of 9018", "the same",
			"in the one page that the estimate gives there is no room for even one frame",
			Credited{Frames: FramesIn(EstimateAsPosted(50), 9018), Cap: 1, PerDevice: true}),
		phillips("phillips-device", "Phillips, estimate fixed, credit per device", "enough memory for the frames that are counted",
			"held memory exceeds the cap", Credited{Frames: 2, Cap: 1, PerDevice: true}),
		phillips("phillips", "Phillips, as fixed: credit per frame", "holds no more than it says, and lives", "",
			Credited{Frames: 2, Cap: 1}),
		{
			Name: "wiki", Title: "receive 1 + early drop + transmit 1", Source: "wiki page on network storage deadlocks, after 2005-08",
			Transmit: 1, Store: Shared(1), DropForeign: true,
			Right: "the least that lives: both directions, and the drop",
		},
	}
}

func of2006() []Policy {
	const zijlstra, polyakov, miller = "Zijlstra, VM deadlock prevention -v4, 2006-08-12", "Polyakov, 2006-08", "Miller, 2006-08"
	separate := func(p Policy) Policy {
		p.Transmit, p.Order = 1, SetAsideOnly
		return p
	}
	return []Policy{
		{
			Name: "zijlstra-posted", Title: "Zijlstra: grouped pages, as posted", Source: zijlstra,
			Transmit: 1, Store: Grouped{Pages: 2, Objects: 2}, DropForeign: true,
			Right: "a frame's objects on a page of their own; the mark is checked early", Wrong: "a page returns only when its objects are freed in exact reverse order",
		},
		{
			Name: "zijlstra", Title: "Zijlstra: grouped pages, as fixed", Source: zijlstra,
			Transmit: 1, Store: Grouped{Pages: 2, Objects: 2, AnyOrder: true}, DropForeign: true,
			Right: "pages always return",
		},
		{
			Name: "zijlstra-full", Title: "Zijlstra: the same, 128 receive and 352 transmit pages", Source: zijlstra,
			Transmit: 352, Store: Grouped{Pages: 128, Objects: 2, AnyOrder: true}, DropForeign: true,
			Right: "pages always return",
		},
		separate(Policy{
			Name: "polyakov", Title: "Polyakov: per-CPU allocator, remote frees wait", Source: polyakov,
			Store: PerCPU{Frames: 2},
			Right: "no recourse to the system's memory", Wrong: "frames in unread sockets use it up; what others freed waits for the owner",
		}),
		separate(Policy{
			Name: "polyakov-drain", Title: "Polyakov: the same, remote frees drained", Source: polyakov,
			Store: PerCPU{Frames: 2, Drain: true},
			Right: "no recourse to the system's memory", Wrong: "frames in unread sockets use it up",
		}),
		separate(Policy{
			Name: "miller", Title: "Miller: a global limit on every socket", Source: miller,
			Store: Shared(3), Limit: 2,
			Right: "bounds what sockets retain", Wrong: "refuses the reply too",
		}),
		separate(Policy{
			Name: "miller-exempt", Title: "Miller: the same, the critical socket exempt", Source: miller,
			Store: Shared(3), Limit: 2, Exempt: true,
			Right: "bounds what sockets retain, and lets the reply pass",
		}),
	}
}

func since() []Policy {
	const linux = "Linux 3.6, memalloc sockets; net/core/dev.c"
	return []Policy{
		{
			Name: "linux-aoe", Title: "Linux, AoE not on its list of protocols", Source: linux,
			Transmit: 1, Store: Shared(2), DropForeign: true, OffList: true,
			Right: "reserve below the watermark, dropped early when foreign", Wrong: "what is not ARP, IP or VLAN is foreign: AoE's replies too",
		},
		{
			Name: "linux-listed", Title: "Linux, if AoE were on the list", Source: linux,
			Transmit: 1, Store: Shared(2), DropForeign: true,
			Right: "lives",
		},
	}
}

// OursInTiers is this project's policy with what the kernel does below it.
func OursInTiers() []Policy {
	base := Policy{Source: "this project, package reserve", DropForeign: true, Order: Own, Store: MinimalOurs()}
	t1, t2, t3 := base, base, base
	t1.Name, t1.Title = "ours-t1", "ours, T1: mapped ring, no guard"
	t1.Card = 1
	t1.Right, t1.Wrong = "nothing of ours waits", "the card's pages end in the sockets of others"
	t2.Name, t2.Title = "ours-t2", "ours, T2: guard in the driver"
	t2.Card, t2.Guard = 1, true
	t2.Right, t2.Wrong = "foreign frames cost no page when memory is short", "lives only with pages that applications may not have: vm.min_free_kbytes"
	t3.Name, t3.Title = "ours-t3", "ours, T3: AF_XDP, a queue of our own"
	t3.NoCopies = true
	t3.Right = "no memory of the system's at all"
	return []Policy{t1, t2, t3}
}

// MinimalOurs is the smallest reserve that can be made: one request, and one
// frame that is not yet classified.
func MinimalOurs() *Ours {
	o, err := NewOurs(OursConfig{Reserve: perRequest + 1, Stock: 1, Requests: GoldenPages + 1})
	if err != nil {
		panic(fmt.Sprintf("model: the smallest reserve: %v", err))
	}
	return o
}
